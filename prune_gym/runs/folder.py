"""A run's folder: what ran, what came out, in files that survive a kill."""

import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from prune_gym.errors import PruneGymError
from prune_gym.files import home, write_atomically, write_json

SCHEMA = 1
CONFIG = "config.json"
EPISODES = "episodes.jsonl"
BEST = "best"
POLICY = "policy"
CHECKPOINT = "checkpoint"
CHECKPOINTS = (CHECKPOINT, f"{CHECKPOINT}.new", f"{CHECKPOINT}.old")
ENTRIES = (CONFIG, EPISODES, BEST, POLICY, "tensorboard", *CHECKPOINTS)
PACKAGES = (
    "prune-gym",
    "torch",
    "numpy",
    "numba",
    "gymnasium",
    "safetensors",
    "onnx",
    "onnxruntime",
    "torchvision",
    "stable-baselines3",
)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from writing to a folder; a kill gives it back, too.

    The lock lies in the cache folder, not in the user's.

    Args:
        folder: The folder, made or not.

    Raises:
        PruneGymError: Another process has it.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    locks = home() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise PruneGymError(
            f"Another process is at work in {str(folder)!r}. Wait until it ends, or stop it (one "
            "whose parent was killed goes on by itself)."
        ) from error
    try:
        yield
    finally:
        lock.release()


def prepare(folder: Path, overwrite: bool) -> None:
    """Make an empty folder for a run.

    Args:
        folder: The folder.
        overwrite: Whether an earlier run in it may go.

    Raises:
        PruneGymError: It holds something; of an earlier run only ``overwrite`` removes it, and
            a folder that is no run's is never removed.
    """
    if folder.exists() and not folder.is_dir():
        raise PruneGymError(f"--out {str(folder)!r} is a file, not a folder")
    if folder.is_dir() and any(folder.iterdir()):
        if not overwrite:
            raise PruneGymError(
                f"--out {str(folder)!r} is not empty. Name another folder, or add --overwrite to "
                "replace an earlier run."
            )
        if not (folder / CONFIG).is_file() or "env_revision" not in read_config(folder):
            raise PruneGymError(
                f"--overwrite: {str(folder)!r} holds no run (no {CONFIG} of ours), so it is left "
                "alone. Name another folder."
            )
        others = {path.name for path in folder.iterdir()} - set(ENTRIES)
        if others:
            raise PruneGymError(
                f"--overwrite: {str(folder)!r} holds {sorted(others)[0]!r} beside a run, so it is "
                "left alone. Name another folder."
            )
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)


def machine(device: str) -> dict[str, Any]:
    """The machine's kind, as records name it."""
    import torch

    facts: dict[str, Any] = {
        "system": platform.system(),
        "processor": platform.machine(),
        # Other vector instructions sum floats in another order.
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "device": device,
    }
    if device.startswith("cuda"):
        facts["device_name"] = torch.cuda.get_device_name(device)
    return facts


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    result = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            result[name] = version(name)
        except PackageNotFoundError:
            continue
    return result


def write_config(folder: Path, env: Any, **facts: Any) -> dict[str, Any]:
    """Write ``config.json``: the command and everything that the result depends on.

    Args:
        folder: The run's folder.
        env: The unwrapped environment.
        facts: Id, agent, options, seed and budget.

    Returns:
        What was written.
    """
    config = {
        "schema": SCHEMA,
        "command": ["prune-gym", *sys.argv[1:]],
        **facts,
        "env_revision": env.ENV_REVISION,
        "threads": env.threads,
        "hashes": hashes(env),
        "versions": versions(),
        "machine": machine(str(env.baseline.device)),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_json(folder / CONFIG, config)
    return config


def hashes(env: Any) -> dict[str, str]:
    """Of the weights, images and accelerator that an unwrapped environment stands on."""
    return {
        "weights": env.baseline.weights_hash,
        "dataset": env.baseline.dataset.fingerprint,
        "accelerator": env.baseline.costs.accelerator.fingerprint,
    }


def check_same(config: dict[str, Any], env: Any) -> None:
    """Hold a run that goes on against what it was started with.

    Raises:
        PruneGymError: The environment's revision, weights, data, accelerator or threads differ.
    """
    now = hashes(env) | {"env_revision": env.ENV_REVISION, "threads": env.threads}
    then = config["hashes"] | {name: config[name] for name in ("env_revision", "threads")}
    for name, value in now.items():
        if then[name] != value:
            raise PruneGymError(
                f"the run was started with {name} {then[name]}, here it is {value}: its result "
                "would be neither's. Start a new run."
            )


def read_config(folder: Path) -> dict[str, Any]:
    """A run's ``config.json``.

    Raises:
        PruneGymError: The folder holds no run, or the file is damaged or of another schema.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise PruneGymError(f"{str(folder)!r} holds no run: there is no {CONFIG}.")
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PruneGymError(f"{str(path)!r} is damaged ({error}).") from error
    if not isinstance(config, dict):
        raise PruneGymError(f"{str(path)!r} is damaged: it holds no table.")
    if config.get("schema") != SCHEMA:
        raise PruneGymError(f"{str(path)!r} is of schema {config.get('schema')}, not {SCHEMA}.")
    return config


def read_episodes(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's episodes; a last line that a kill cut off is left out."""
    path = folder / EPISODES
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    try:
        records: list[dict[str, Any]] = [json.loads(line) for line in whole]
        return records
    except ValueError as error:
        raise PruneGymError(f"{str(path)!r} is damaged ({error}).") from error


def keep_episodes(folder: Path, count: int) -> None:
    """Leave out the records of episodes from a number on, which will be played again."""
    records = [record for record in read_episodes(folder) if record["episode"] < count]
    text = "".join(json.dumps(record, allow_nan=False) + "\n" for record in records)
    if (folder / EPISODES).is_file():
        write_atomically(folder / EPISODES, lambda path: path.write_text(text, encoding="utf-8"))


def search_facts(folder: Path) -> dict[str, Any]:
    """What a run's search took, as reports tell it."""
    episodes = read_episodes(folder)
    names = ("trials", "search_macs_total", "wall_seconds", "device_seconds")
    return {"episodes": len(episodes)} | {name: episodes[-1][name] for name in names if episodes}


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line and see it to the disk, so that a kill loses no earlier one."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
