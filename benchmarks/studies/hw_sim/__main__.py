"""``python -m benchmarks.studies.hw_sim``: time of the mapping search, and of its peers.

Compilation is excluded: each case runs once before it is timed. The memo is emptied before every
timing; equal layers within one call share a result. The peers get the same 19 layers in one call;
their start and imports are not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.studies.hw_sim import resnet20
from hw_sim import OBJECTIVES, Accelerator, ConvLayer, clear_memo, evaluate_network

TIMED = ("eyeriss_ideal", "eyeriss", "eyeriss_silicon", "tpu_like", "nvdla_like", "simba_pe")
GOLDENS = {("eyeriss_ideal", "energy"): 422_400, ("eyeriss_ideal", "latency"): 290_560}
GOLDENS |= {("eyeriss", "energy"): 456_288}


def time_search(accelerator: str, objective: str, repeats: int) -> dict[str, Any]:
    """Milliseconds of :func:`hw_sim.evaluate_network` on the 19 layers, memo emptied each time."""
    layers, machine = resnet20(), Accelerator.preset(accelerator)
    cycles = evaluate_network(layers, machine, objective).cycles
    times = []
    for _ in range(repeats):
        clear_memo()
        start = time.perf_counter()
        evaluate_network(layers, machine, objective)
        times.append(1e3 * (time.perf_counter() - start))
    expected = GOLDENS.get((accelerator, objective), cycles)
    if cycles != expected:
        raise SystemExit(f"{accelerator}, {objective}: {cycles} cycles, not {expected}")
    return {
        "accelerator": accelerator,
        "objective": objective,
        "cycles": cycles,
        "median_ms": statistics.median(times),
        "min_ms": min(times),
    }


class Peer(NamedTuple):
    """A tool from the package index to compare with, in a virtual environment of its own.

    ``cycles`` are those that it must find in total, or None if its model differs.
    """

    name: str
    packages: tuple[str, ...]
    script: str
    cycles: int | None


PEERS = (
    # nn_dataflow counts the same passes as eyeriss_ideal does: the cycles must be equal.
    Peer("nn_dataflow 2.1", ("nn-dataflow==2.1", "sympy<1.7"), "run_nn_dataflow.py", 422_400),
    # ZigZag unrolls channels and filters over its array, not rows: another dataflow.
    Peer("ZigZag 3.9", ("zigzag-dse==3.9.*", "six"), "run_zigzag.py", None),
)


def run_peer(peer: Peer, layers: list[ConvLayer], folder: Path) -> dict[str, Any]:
    """Install a peer in a virtual environment if necessary, and let it search the layers.

    Returns:
        ``seconds`` (of the search alone) and ``cycles``.
    """
    home = folder / peer.script.removeprefix("run_").removesuffix(".py")
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not (home / "installed").exists():
        venv.create(home, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *peer.packages], check=True)
        (home / "installed").touch()
    words = [python, Path(__file__).with_name(peer.script)]
    content = json.dumps(
        [
            {
                "name": layer.name.replace(".", "_"),
                "in_channels": layer.in_channels,
                "out_channels": layer.out_channels,
                "out": layer.out_height,
                "kernel": layer.kernel[0],
                "stride": layer.in_height // layer.out_height,
            }
            for layer in layers
        ]
    )
    done = subprocess.run(words, input=content, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def time_peers(folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Seconds and cycles of each peer, and the ratio of its time to the search's.

    The search is timed before and after each peer, since the speed of a shared machine drifts.
    """
    results = []
    for peer in PEERS:
        before = time_search("eyeriss_ideal", "energy", repeats)
        result = run_peer(peer, resnet20(), folder)
        after = time_search("eyeriss_ideal", "energy", repeats)
        if peer.cycles is not None and result["cycles"] != peer.cycles:
            raise SystemExit(f"{peer.name}: {result['cycles']} cycles, not {peer.cycles}")
        ours_ms = (before["median_ms"] + after["median_ms"]) / 2
        ratio = 1e3 * result["seconds"] / ours_ms
        results.append({"name": peer.name, **result, "beside_ms": ours_ms, "ratio": ratio})
    return results


def main() -> None:
    """Time, print, and write a JSON file with ``--json``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.hw_sim", description=__doc__
    )
    parser.add_argument("--repeats", type=int, default=200, help="timings per case")
    parser.add_argument("--peers", action="store_true", help="install the peers and time them too")
    parser.add_argument(
        "--peers-folder", type=Path, default=Path("runs/peers"), help="folder of their environments"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()

    searches = [
        time_search(accelerator, objective, arguments.repeats)
        for accelerator in TIMED
        for objective in OBJECTIVES
    ]
    print(f"{'19 layers of ResNet-20':<34}{'cycles':>9}{'median ms':>11}{'min ms':>9}")
    for row in searches:
        name = f"{row['accelerator']}, {row['objective']}"
        print(f"{name:<34}{row['cycles']:>9}{row['median_ms']:>11.2f}{row['min_ms']:>9.2f}")
    peers = time_peers(arguments.peers_folder, arguments.repeats) if arguments.peers else []
    for row in peers:
        print(
            f"{row['name']:<34}{row['cycles']:>9}{1e3 * row['seconds']:>11.0f}"
            f"   {row['ratio']:,.0f} times the {row['beside_ms']:.2f} ms of the search beside it"
        )
    if arguments.json:
        figures = {"searches": searches, "peers": peers}
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
