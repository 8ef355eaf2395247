"""Golden rollouts: values that must stay the same when the code is restructured.

Floats differ between processors, so goldens are only valid on the machine that recorded them and
are not committed::

    python -m tests.golden record FOLDER     # before a change
    python -m tests.golden compare FOLDER    # after the change
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import prune_gym  # noqa: F401

SMALL = {
    "eval_images": 100,
    "repair_images": 48,
    "threads": 1,
    "max_epochs": 0.02,
    "batch_size": 64,
}
EPISODE = (
    *("episode", "seed", "complete", "best", "accuracy", "params", "macs", "cycles"),
    *("latency_ms", "energy_uj", "search_macs", "search_macs_total", "trials"),
)
STEP = (
    *("space", "kept", "duration", "batches", "seed", "mask_changed", "accuracy", "rewards"),
    *("sparsity", "codes", "merged", "reconstruction_error", "autoencoder_updates"),
    *("params", "macs", "cycles", "latency_ms", "energy_uj"),
)


def plain(value: Any) -> Any:
    """Convert a value to JSON types; floats keep every bit."""
    if isinstance(value, dict):
        return {str(name): plain(own) for name, own in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [plain(own) for own in value]
    if isinstance(value, np.ndarray):
        return digest(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    return value.hex() if isinstance(value, float) else value


def digest(array: np.ndarray) -> str:
    """Hash of an array's type, shape and values."""
    whole = np.ascontiguousarray(array)
    return hashlib.sha256(f"{whole.dtype}{whole.shape}".encode() + whole.tobytes()).hexdigest()[:16]


def weights(env: Any) -> str:
    """Hash of a network's tensors."""
    total = hashlib.sha256()
    for name, tensor in sorted(env.network.module.state_dict().items()):
        total.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def random_action(env: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A random action; one third of the actions have no fine-tuning."""
    duration = np.array([rng.random() * (rng.random() < 0.66)], np.float32)
    if "sparsity" in env.action_space.spaces:
        return {"sparsity": rng.random(1).astype(np.float32) * 0.9, "duration": duration}
    keep = rng.uniform(0.2, 1)
    mask = (rng.random(env.action_space["mask"].n) < keep).astype(np.int8)
    return {"mask": mask, "duration": duration}


def rollout(
    name: str = "PruneResNet20-v0", *, tries: int = 0, network: bool = True, **arguments: Any
) -> list[Any]:
    """An episode of random actions, each of which is repeated from a restored snapshot."""
    env: Any = gym.make(name, **(SMALL | {"scope": "inner"} | arguments)).unwrapped
    rng = np.random.default_rng(5)
    observation, info = env.reset(seed=3)
    values: list[Any] = [observation, info, env.ratio_for_target()]
    ended = False
    while not ended:
        action = random_action(env, rng)
        before = env.snapshot()
        if tries:
            values.append(env.try_actions([random_action(env, rng) for _ in range(tries)]))
        env.step(action)
        env.restore(before)
        observation, reward, terminated, truncated, info = env.step(action)
        values.append([action, observation, reward, terminated, truncated, info, env.score()])
        values.append([env.search_macs_total, env.ratio_for_rest(), env.kept])
        if network:
            values.append(weights(env))
        ended = terminated or truncated
    return [plain(value) for value in values]


def trained(*words: str, kill: bool = False) -> dict[str, Any]:
    """Episodes and exported files of a run of the command line.

    Args:
        words: Arguments of ``prune-gym train``.
        kill: Whether the run is killed after the first episode and then resumed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        given = [f"--env={name}={value}" for name, value in SMALL.items() if name != "threads"]
        command = [sys.executable, "-m", "prune_gym.cli", "train"]
        # Named, so that goldens outlive a change of the defaults.
        for name, value in (("scope", "inner"), ("reward", "step")):
            if not any(word.startswith(f"--env={name}=") for word in words):
                given.append(f"--env={name}={value}")
        first = [*command, *words, *given, "--threads=1", f"--out={out}", "--quiet"]
        if kill:
            process = subprocess.Popen(first, stdout=subprocess.DEVNULL)
            episodes = out / "episodes.jsonl"
            while process.poll() is None and not (
                episodes.is_file() and episodes.read_text().count("\n") >= 1
            ):
                time.sleep(0.05)
            assert process.poll() is None, "the run ended before it was killed"
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            first = [*command, f"--resume={out}", "--quiet"]
        done = subprocess.run(first, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(first)}: {done.stderr}")
        return {"episodes": episodes_of(out), **exported(out / "best")}


def episodes_of(out: Path) -> list[Any]:
    """The recorded values of each episode, and values derived from them."""
    from prune_gym.runs.folder import read_episodes, read_setup
    from prune_gym.runs.records import best_so_far

    setup, episodes = read_setup(out), read_episodes(out)
    result = []
    for episode, best in zip(episodes, best_so_far(setup, episodes), strict=True):
        line = flat(episode.to_json()) | {"seed": setup.config.seed, "best": best}
        line["steps"] = [flat(step) for step in line["steps"]]
        for step in line["steps"]:
            block = step.pop("block", None) or {}
            step |= block | ({"autoencoder_updates": block["updates"]} if block else {})
        result.append(
            {name: line[name] for name in EPISODE if name in line}
            | {"steps": [{n: step[n] for n in STEP if n in step} for step in line["steps"]]}
        )
    return [plain(line) for line in result]


def flat(value: dict[str, Any]) -> dict[str, Any]:
    """A record with its costs beside the other values; what is not there is left out."""
    known = {name: own for name, own in value.items() if own is not None}
    if "number" in known:
        known["episode"] = known.pop("number")
    costs = known.pop("costs", {})
    return known | costs


def exported(best: Path) -> dict[str, Any]:
    """Accuracies, costs and channels of the report, the weights, and the predicted classes."""
    import onnxruntime
    from safetensors.numpy import load_file

    from prune_gym.runs import Report

    report = Report.from_json(json.loads((best / "report.json").read_text()), "report.json")
    setup, accuracy = report.setup, report.to_json()["accuracy"]
    accuracy["test"].pop("after_search")
    sample = np.load(best / "sample.npz")
    session = onnxruntime.InferenceSession(str(best / "model.onnx"))
    classes = session.run(None, {"images": sample["images"]})[0].argmax(1)
    tensors = load_file(best / "weights.safetensors")
    return {
        "report": plain(
            {
                "accuracy": accuracy,
                "costs": {"unpruned": setup.costs.as_dict(), "final": report.costs.as_dict()},
                "channels": {n: [k, setup.channels[n]] for n, k in report.channels.items()},
            }
        ),
        "classes": classes.tolist(),
        "weights": {name: digest(value) for name, value in sorted(tensors.items())},
    }


FAST = ("PruneResNet20-v0", "--episodes=3", "--final-epochs=0.05")
SCENARIOS: dict[str, Callable[[], Any]] = {
    "filters": rollout,
    "filters_slow": lambda: rollout(fast=False),
    "filters_tried": lambda: rollout(tries=3),
    "filters_target": lambda: rollout(
        target={"macs": 0.4, "latency": 0.8}, reward="target", tries=2, round_to=2, min_keep=3
    ),
    "filters_all": lambda: rollout(scope="all", order="backward", observation="weights"),
    "filters_bn": lambda: rollout(recovery="bn", objective="energy", search_budget=10**11),
    "filters_suffix": lambda: rollout(tune="suffix", recovery="none", objective="edp"),
    "alf": lambda: rollout("PruneResNet20-ALF-v0", tries=1),
    "alf_target": lambda: rollout(
        "PruneResNet20-ALF-v0", target={"macs": 0.5}, scope="all", reward="target", max_epochs=0.01
    ),
    "alf_slow": lambda: rollout("PruneResNet20-ALF-v0", fast=False, recovery="bn", tune="all"),
    "alf_suffix": lambda: rollout("PruneResNet20-ALF-v0", tune="suffix", order="backward"),
    "surrogate": lambda: surrogate(),
    "surrogate_target": lambda: surrogate(target={"latency": 0.6}, reward="target"),
    "run_l2pf": lambda: trained(*FAST, "--agent=l2pf", "--set=candidates=3", "--set=updates=2"),
    "run_l2pf_resumed": lambda: trained(
        *FAST, "--agent=l2pf", "--set=candidates=3", "--set=updates=2", kill=True
    ),
    "run_l2pf_target": lambda: trained(
        *FAST, "--agent=l2pf", "--target=macs=0.3", "--env=reward=target", "--set=granularity=stage"
    ),
    "run_l1": lambda: trained(*FAST, "--agent=l1", "--target=macs=0.4"),
    "run_mixed": lambda: trained(*FAST, "--agent=mixed"),
    "run_greedy": lambda: trained(*FAST, "--agent=greedy", "--episodes=1", "--target=macs=0.5"),
    "run_evolution": lambda: trained(*FAST, "--agent=evolution", "--target=params=0.5"),
    "run_try_and_learn": lambda: trained(*FAST, "--agent=try_and_learn", "--set=samples=3"),
    "run_amc": lambda: trained(
        *FAST, "--agent=amc", "--set=warmup_episodes=1", "--set=batch_size=4", "--target=macs=0.5"
    ),
    "run_ppo": lambda: trained(
        *FAST, "--agent=ppo", "--set=rollout_episodes=1", "--set=minibatches=1"
    ),
    "run_sac": lambda: trained(*FAST, "--agent=sac", "--set=warmup_episodes=1"),
    "run_maskable": lambda: trained(
        *FAST, "--agent=maskable_ppo", "--set=rollout_episodes=1", "--set=minibatches=1"
    ),
    "run_alf": lambda: trained(
        *FAST,
        "--episodes=2",
        "--agent=alf",
        "--set=epochs=0.1",
        "--set=first_updates=20",
        "--target=macs=0.5",
    ),
    "run_alf_scratch": lambda: trained(
        *FAST, "--episodes=1", "--agent=alf", "--set=epochs=0.1", "--set=from_scratch=true"
    ),
    "run_warm": lambda: trained(
        "PruneResNet20-v0",
        "--episodes=1",
        "--final-epochs=0",
        "--agent=l2pf",
        "--set=candidates=2",
        "--set=updates=1",
    ),
}


def surrogate(**arguments: Any) -> list[Any]:
    """Episodes in the surrogate with default arguments, for which the shipped one was fitted."""
    env: Any = gym.make("PruneResNet20-Surrogate-v0", **arguments).unwrapped
    rng, values = np.random.default_rng(7), list[Any]()
    for _ in range(5):
        observation, info = env.reset(seed=1)
        values += [observation, info, env.ratio_for_target()]
        ended = False
        while not ended:
            values.append(env.try_actions([random_action(env, rng) for _ in range(2)]))
            before = env.snapshot()
            action = random_action(env, rng)
            env.step(action)
            env.restore(before)
            observation, reward, ended, _, info = env.step(action)
            values.append([observation, reward, info, env.score(), env.ratio_for_rest(), env.kept])
    return [plain(value) for value in values]


def difference(before: Any, now: Any, where: str = "") -> str | None:
    """Describe the first place where two values differ; None if they are equal."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in before:
            if name == "rewards" and "/steps/" in where and name not in now:
                continue  # follows from accuracy and costs, so that it is not recorded
            if name not in now:
                return f"{where}/{name} is gone"
            if found := difference(before[name], now[name], f"{where}/{name}"):
                return found
        return None
    if isinstance(before, list) and isinstance(now, list):
        if len(before) != len(now):
            return f"{where}: {len(now)} entries, before {len(before)}"
        for place, pair in enumerate(zip(before, now, strict=True)):
            if found := difference(*pair, f"{where}/{place}"):
                return found
        return None
    return None if before == now else f"{where}: {now!r}, before {before!r}"


def main() -> int:
    """Record, or compare and print a line for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("record", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("scenarios", nargs="*", help="names or beginnings (all by default)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name, play in SCENARIOS.items():
        if arguments.scenarios and not name.startswith(tuple(arguments.scenarios)):
            continue
        path, started = arguments.folder / f"{name}.json", time.monotonic()
        values = json.loads(json.dumps(play()))
        if arguments.command == "record":
            path.write_text(json.dumps(values))
            verdict = "recorded"
        else:
            found = difference(json.loads(path.read_text()), values)
            wrong += found is not None
            verdict = found or "the same"
        print(f"{name:<20}{time.monotonic() - started:>7.1f} s  {verdict}", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
