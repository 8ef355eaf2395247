"""A run's folder and its files, which survive a kill."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium as gym
from filelock import FileLock, Timeout

from prune_gym import manifest
from prune_gym.errors import PruneGymError, WriteError
from prune_gym.files import (
    append_line,
    is_temporary,
    make_folder,
    sweep,
    write_atomically,
    write_json,
)
from prune_gym.interface import Agent
from prune_gym.jsonfile import MOST_LINES, check_size, parse_json, read_json
from prune_gym.runs.records import Episode, Report, Setup

CONFIG = "config.json"
EPISODES = "episodes.jsonl"
BEST = "best"
REPORT = "report.json"
POLICY = "policy"
TENSORBOARD = "tensorboard"
CHECKPOINTS = ("checkpoint", "checkpoint.new", "checkpoint.old")
LOCK = ".lock"
ENTRIES = (CONFIG, EPISODES, BEST, POLICY, TENSORBOARD, *CHECKPOINTS)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to a run's folder; a kill releases it, too.

    The folder is made if needed. What killed processes left of their writing is removed.

    Raises:
        PruneGymError: If another process is using it.
        WriteError: If the folder cannot be made or written to.
    """
    make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except NotImplementedError:
        gym.logger.warn(
            "the file system of %r has no locks: make sure that no other process uses this folder",
            str(folder),
        )
    except OSError as error:
        if isinstance(error, Timeout):
            raise _claimed_by_another(folder) from error
        raise WriteError(
            f"The folder {str(folder)!r} cannot be written to ({error.strerror}). Name another."
        ) from error
    try:
        sweep(folder)
        yield
    finally:
        lock.release()


def _claimed_by_another(folder: Path) -> PruneGymError:
    return PruneGymError(
        f"Another process is using {str(folder)!r}. Wait until it ends, or stop it (a "
        "process continues even if its parent was killed)."
    )


def check_free(folder: Path, overwrite: bool) -> None:
    """Check that a folder can take a run, before anything is written to it.

    Args:
        folder: Folder, which need not exist.
        overwrite: Whether an earlier run in it may be replaced.

    Raises:
        PruneGymError: If the folder is not empty, or holds anything but a run.
    """
    if folder.exists() and not folder.is_dir():
        raise PruneGymError(f"out={str(folder)!r} is a file, not a folder. Name another.")
    if folder.is_dir() and entries(folder):
        if not overwrite:
            raise PruneGymError(
                f"out={str(folder)!r} is not empty. Name another folder, or overwrite an earlier "
                "run (--overwrite, or Run.start(overwrite=True))."
            )
        path = folder / CONFIG
        value = read_json(path)[0] if path.is_file() else None
        # Of this version or an earlier one.
        if not isinstance(value, dict) or "env_revision" not in value:
            raise PruneGymError(
                f"overwrite: {str(folder)!r} holds no run (no {CONFIG} of prune_gym), so "
                "nothing was deleted. Name another folder."
            )
        others = {path.name for path in entries(folder)} - set(ENTRIES)
        if others:
            raise PruneGymError(
                f"overwrite: {str(folder)!r} also contains {sorted(others)[0]!r}, which is not "
                "part of a run, so nothing was deleted. Name another folder."
            )


def clear(folder: Path, overwrite: bool) -> None:
    """Empty a folder that this process has claimed; ``overwrite`` removes an earlier run.

    Raises:
        PruneGymError: If the folder is not empty, or holds anything but a run.
    """
    check_free(folder, overwrite)  # another process may have filled it meanwhile
    for path in entries(folder):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def entries(folder: Path) -> list[Path]:
    """What a folder holds besides the lock and what killed processes left."""
    return [path for path in folder.iterdir() if path.name != LOCK and not is_temporary(path)]


def finished(folder: Path) -> bool:
    """Whether a run has its report."""
    return (folder / BEST / REPORT).is_file()


def write_setup(folder: Path, setup: Setup) -> None:
    """Write ``config.json``."""
    write_json(folder / CONFIG, setup.to_json())


def read_setup(folder: Path) -> Setup:
    """Read ``config.json``.

    Raises:
        PruneGymError: If the folder holds no run, or the file is damaged or of another schema.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise PruneGymError(f"{str(folder)!r} holds no run: there is no {CONFIG}.")
    return Setup.from_json(*read_json(path))


def read_report(folder: Path) -> Report | None:
    """Read ``best/report.json``; None if the run is not finished.

    Raises:
        PruneGymError: If the file is damaged or of another schema.
    """
    path = folder / BEST / REPORT
    return Report.from_json(*read_json(path)) if path.is_file() else None


def write_report(folder: Path, report: Report) -> None:
    """Write ``best/report.json``: a folder that has it has all files."""
    write_json(folder / BEST / REPORT, report.to_json())


def append_episode(folder: Path, episode: Episode) -> None:
    """Append an episode to ``episodes.jsonl``."""
    append_line(folder / EPISODES, episode.to_json())


def read_episodes(folder: Path) -> list[Episode]:
    """Read ``episodes.jsonl``; a last line that a kill cut off is left out.

    Raises:
        PruneGymError: If a line is damaged.
    """
    path = folder / EPISODES
    if not path.is_file():
        return []
    check_size(path, MOST_LINES)
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    episodes = []
    for number, line in enumerate(whole, start=1):
        where = f"{str(path)!r} line {number}"
        episodes.append(Episode.from_json(parse_json(line, where), where))
    return episodes


def hash_episodes(folder: Path, count: int) -> str:
    """SHA-256 of the first lines of ``episodes.jsonl``; fewer lines have another one."""
    path = folder / EPISODES
    content = path.read_bytes() if path.is_file() else b""
    lines = content.splitlines(keepends=True)
    return hashlib.sha256(b"".join(lines[:count])).hexdigest()


def save_policy(folder: Path, agent: Agent) -> None:
    """Write what an agent has learned to ``policy/``, with checksums."""
    make_folder(folder / POLICY)
    manifest.unseal(folder / POLICY)
    agent.save(folder / POLICY)
    manifest.seal(folder / POLICY)


def load_policy(folder: Path, agent: Agent) -> None:
    """Read what an agent has learned.

    Raises:
        DamagedError: If a file is missing or damaged.
    """
    remedy = f"Resume the run (prune-gym train --resume {folder}), or start a new one."
    manifest.check(folder / POLICY, remedy)
    agent.load(folder / POLICY)


def keep_episodes(folder: Path, count: int) -> list[Episode]:
    """Remove all but the first episodes, and return these; the others will be played again."""
    kept = [episode for episode in read_episodes(folder) if episode.number < count]
    text = "".join(json.dumps(episode.to_json(), allow_nan=False) + "\n" for episode in kept)
    if (folder / EPISODES).is_file():
        write_atomically(folder / EPISODES, lambda path: path.write_text(text, encoding="utf-8"))
    return kept
