"""Records of a benchmark: one line a cell, and their replay."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks import tasks
from benchmarks.results import SCHEMA, Result
from prune_gym.cli import run_folder
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically

EXACT = ("params", "macs", "cycles")
FLOATS = ("latency_ms", "energy_uj")
FOLDER = "imagefolder:"
SOMEWHERE = f"{FOLDER}PATH"
"""What stands in a record for an image folder of the machine that wrote it."""
SAME, ELSEWHERE = 1e-5, 0.08
"""Largest difference of an accuracy where processor kind, versions and threads are those of the
record, and where they are not (docs/benchmark.md says how it was measured)."""


def of_results(results: Iterable[Result], task: tasks.Task) -> list[dict[str, Any]]:
    """Records of finished runs; of episodes but the best one the steps are left out.

    Args:
        results: Runs of the task.
        task: What they ran.
    """
    return [
        {
            "schema": SCHEMA,
            "task": task.name,
            "task_version": task.version,
            "config": _portable(result.config),
            "episodes": [
                dict(episode) if episode["best"] else {**episode, "steps": []}
                for episode in result.episodes
            ],
            "report": _portable(result.report or {}),
            "scratch": result.scratch,
        }
        for result in results
        if result.finished
    ]


def _portable(value: Any) -> Any:
    """Facts of a run without the folders of the machine that it ran on."""
    if isinstance(value, Mapping):
        return {name: _portable(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        words = [_portable(own) for own in value]
        if "--out" in words[:-1]:
            words[words.index("--out") + 1] = "RUN"
        return words
    if isinstance(value, str) and value.startswith(FOLDER):
        return SOMEWHERE
    return value


def write(path: Path, records: Sequence[Mapping[str, Any]]) -> Path:
    """Write records as JSON lines."""
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_replayable(result: Result) -> None:
    """Refuse what this version cannot replay.

    Raises:
        PruneGymError: The record is of no task or of another version of it.
    """
    from prune_gym.envs import PruningEnv

    if result.task is None:
        raise PruneGymError(f"{result.source} is of no task, so nothing says how it was made.")
    name, version = result.task
    known = tasks.find(name).version
    if version != known:
        raise PruneGymError(
            f"{result.source} is of version {version} of {name!r}, here it is {known}. Replay it "
            "with the release that wrote it, or run it again."
        )
    if result.config["env_revision"] != PruningEnv.ENV_REVISION:
        raise PruneGymError(
            f"{result.source} is of environment revision {result.config['env_revision']}, here it "
            f"is {PruningEnv.ENV_REVISION}. Replay it with the release that wrote it."
        )


def make_environment(result: Result, dataset: str | None = None) -> gym.Env:
    """The environment that a record was made in.

    Args:
        result: The record.
        dataset: Where the images are on this machine, if elsewhere.

    Raises:
        PruneGymError: Weights, images or accelerator are not the record's.
    """
    given = dict(result.config["env_arguments"])
    if dataset is not None:
        given["dataset"] = dataset
    elif given.get("dataset") == SOMEWHERE:
        raise PruneGymError(
            f"{result.source} was made with images of a folder (SHA-256 of the data "
            f"{result.config['hashes']['dataset'][:12]}): say where they are, --dataset {SOMEWHERE}"
        )
    env = gym.make(result.config["id"], disable_env_checker=True, **given)
    for name, value in run_folder.hashes(env.unwrapped).items():
        if result.config["hashes"][name] != value:
            raise PruneGymError(
                f"{result.source}: its {name} has the hash {result.config['hashes'][name][:12]}, "
                f"here it is {value[:12]}: nothing can be replayed with another one."
            )
    return env


def tolerance(result: Result) -> tuple[float, str]:
    """How far accuracies may differ from a record's on this machine, and why."""
    config = result.config
    packages = ("torch", "numpy", "python")
    versions, machine = run_folder.versions(), run_folder.machine("cpu")
    other = [name for name in packages if config["versions"].get(name) != versions.get(name)]
    # A record that does not name its vector instructions may have been made with any.
    kinds = {"processor": "processor", "vector": "vector instructions", "device": "device"}
    other += [told for n, told in kinds.items() if config["machine"].get(n) != machine[n]]
    if other:
        return ELSEWHERE, f"other {', '.join(other)}"
    return SAME, "same processor kind, vector instructions, versions and threads"


def replay(result: Result, env: gym.Env) -> list[str]:
    """Play a record's steps again.

    Args:
        result: The record; episodes without steps are held against nothing.
        env: From :func:`make_environment`.

    Returns:
        One line for each figure that differs.
    """
    allowed, _ = tolerance(result)
    wrong: list[str] = []
    for episode in result.episodes:
        if episode["steps"]:
            wrong += _replay_episode(episode, env.unwrapped, allowed)
    return [f"{result.source}: {line}" for line in wrong]


def _replay_episode(episode: Mapping[str, Any], env: Any, allowed: float) -> list[str]:
    where = f"episode {episode['episode']}"
    if all("seed" not in step and "codes" in step for step in episode["steps"]):
        return _hold_costs(where, episode, env)
    if any("seed" not in step for step in episode["steps"]):
        return [f"{where}: its steps name no seed, so it cannot be replayed"]
    env.reset(seed=episode["seed"])
    wrong: list[str] = []
    info: Mapping[str, Any] = {}
    for number, step in enumerate(episode["steps"]):
        *_, info = env.replay(_action(step, env), step["seed"])
        at = f"{where}, step {number} ({step['space']})"
        if np.flatnonzero(info["mask"]).tolist() != step["kept"]:
            wrong.append(f"{at}: kept {len(step['kept'])} filters, other ones are executed here")
        wrong += _differences(at, step, info, allowed)
    wrong += _differences(f"{where}, end", episode, info, allowed)
    if episode["search_macs"] != info.get("search_macs"):
        wrong.append(
            f"{where}: search_macs is {episode['search_macs']}, here {info.get('search_macs')}"
        )
    return wrong


def _hold_costs(where: str, episode: Mapping[str, Any], env: Any) -> list[str]:
    """Costs of a network that was compressed as a whole: it has no steps to be played again."""
    codes: dict[str, int] = {}
    wrong: list[str] = []
    for number, step in enumerate(episode["steps"]):
        codes[step["space"]] = step["codes"]
        # What is not replayed cannot differ.
        found = {**env.mode.costs_of(codes).as_dict(), "accuracy": step["accuracy"]}
        wrong += _differences(f"{where}, step {number} ({step['space']})", step, found, 0.0)
    return wrong + _differences(
        f"{where}, end", episode, found | {"accuracy": episode["accuracy"]}, 0.0
    )


def _action(step: Mapping[str, Any], env: Any) -> dict[str, np.ndarray]:
    duration = np.array([step["duration"]], np.float32)
    if "sparsity" in step:
        return {"sparsity": np.array([step["sparsity"]], np.float32), "duration": duration}
    mask = np.zeros(env.observer.width, np.int8)
    mask[step["kept"]] = 1
    return {"mask": mask, "duration": duration}


def _differences(
    where: str, wanted: Mapping[str, Any], found: Mapping[str, Any], allowed: float
) -> list[str]:
    """One line for each figure that differs."""
    wrong = [
        f"{where}: {name} is {wanted[name]}, here {found.get(name)}"
        for name in EXACT
        if wanted[name] != found.get(name)
    ]
    for name in FLOATS:
        # Sums of floats in one order: all that may differ is the last bit.
        if not np.isclose(wanted[name], found.get(name, np.nan), rtol=1e-12, atol=0):
            wrong.append(f"{where}: {name} is {wanted[name]}, here {found.get(name)}")
    if not abs(wanted["accuracy"] - found.get("accuracy", np.nan)) <= allowed:
        wrong.append(
            f"{where}: accuracy is {wanted['accuracy']:.6f}, here {found.get('accuracy'):.6f} "
            f"(allowed: {allowed:g})"
        )
    return wrong
