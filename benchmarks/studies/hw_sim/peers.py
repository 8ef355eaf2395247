"""Peers from the package index, each in its own virtual environment."""

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

from hw_sim import ConvLayer


class Peer(NamedTuple):
    """A tool to compare with.

    Attributes:
        name: Name and version.
        packages: Packages that pip installs.
        script: Script that its Python runs.
        cycles: Total cycles that it must find, or None if its model differs.
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
                "stride": layer.stride,
            }
            for layer in layers
        ]
    )
    done = subprocess.run(words, input=content, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result
