"""Records of a benchmark: one line a cell."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from benchmarks import tasks
from benchmarks.results import SCHEMA, Result
from prune_gym import provenance
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically
from prune_gym.runs.run import hashes

FOLDER = "imagefolder:"
SOMEWHERE = f"{FOLDER}PATH"
"""What stands in a record for an image folder of the machine that wrote it."""


@dataclass(frozen=True)
class Tolerance:
    """How far a replay's accuracies may be from a record's.

    Args:
        each: Every one of them.
        mean: On average over all steps of the record; what was edited everywhere does not pass.
        final: Those after the final fine-tune, measured on whole splits.
        why: Which case it is.
    """

    each: float
    mean: float
    final: float
    why: str


SAME = 1e-5, 1e-5, 1e-5
ELSEWHERE = 0.15, 0.03, 0.03
"""Where processor, versions and threads are those of the record, and where they are not
(docs/benchmark.md says how it was measured)."""


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
            "config": portable(result.config),
            "episodes": [
                dict(episode) if episode["best"] else {**episode, "steps": []}
                for episode in result.episodes
            ],
            "report": portable(result.report or {}),
            "scratch": result.scratch,
        }
        for result in results
        if result.finished
    ]


def portable(value: Any) -> Any:
    """Facts of a run without the folders of the machine that it ran on."""
    if isinstance(value, Mapping):
        return {name: portable(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        words = [portable(own) for own in value]
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
        PruneGymError: The record is of no task, of another version of it, or its settings are not
            the task's.
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
    _check_settings(result, tasks.find(name))
    if result.config["env_revision"] != PruningEnv.ENV_REVISION:
        raise PruneGymError(
            f"{result.source} is of environment revision {result.config['env_revision']}, here it "
            f"is {PruningEnv.ENV_REVISION}. Replay it with the release that wrote it."
        )


def _check_settings(result: Result, task: tasks.Task) -> None:
    """Hold a record's settings against its task's."""
    config = result.config
    given = dict(config["env_arguments"])
    # The data's hash is held elsewhere, and an agent may turn on the mode that it needs.
    for name in ("threads", "dataset", "device", "action_mode"):
        given.pop(name, None)
    pairs = {
        "environment": (config["id"], task.env_id),
        "env_arguments": (given, dict(task.environment)),
        "budget": (
            {name: value for name, value in config["budget"].items() if value is not None},
            {"search_macs": task.search_macs},
        ),
        "final_epochs": (config["final_epochs"], task.final_epochs),
    }
    for name, (own, wanted) in pairs.items():
        if own != wanted:
            raise PruneGymError(
                f"{result.source}: its {name} is {own}, the task {task.name!r} has {wanted}: it "
                "was edited, or made by hand. Run the task."
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
    inner: Any = env.unwrapped
    if result.config["threads"] != inner.threads:
        raise PruneGymError(
            f"{result.source}: threads is {result.config['threads']}, its environment has "
            f"{inner.threads}: it was edited. Run it again, or leave it out."
        )
    for name, value in hashes(inner).items():
        if result.config["hashes"][name] != value:
            raise PruneGymError(
                f"{result.source}: its {name} has the hash {result.config['hashes'][name][:12]}, "
                f"here it is {value[:12]}: nothing can be replayed with another one."
            )
    return env


def tolerance(result: Result) -> Tolerance:
    """How far accuracies may differ from a record's on this machine, and why."""
    config = result.config
    packages = ("torch", "numpy", "python")
    versions, machine = provenance.versions(), provenance.machine("cpu")
    other = [name for name in packages if config["versions"].get(name) != versions.get(name)]
    # A record that does not name its microarchitecture may have been made on any.
    kinds = "processor", "microarchitecture", "vector", "device"
    differing = [name for name in kinds if config["machine"].get(name) != machine[name]]
    other += ["vector instructions" if name == "vector" else name for name in differing]
    if other:
        return Tolerance(*ELSEWHERE, f"other {', '.join(other)}")
    return Tolerance(*SAME, "same microarchitecture, vector instructions, versions and threads")
