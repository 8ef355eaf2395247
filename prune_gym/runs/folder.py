"""A run's folder and its files, which survive a kill."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from prune_gym.errors import PruneGymError
from prune_gym.files import append_line, home, write_atomically, write_json
from prune_gym.jsonfile import parse_json, read_json
from prune_gym.runs.records import Episode, Report, Setup

CONFIG = "config.json"
EPISODES = "episodes.jsonl"
BEST = "best"
REPORT = "report.json"
POLICY = "policy"
TENSORBOARD = "tensorboard"
CHECKPOINTS = ("checkpoint", "checkpoint.new", "checkpoint.old")
ENTRIES = (CONFIG, EPISODES, BEST, POLICY, TENSORBOARD, *CHECKPOINTS)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Keep other processes of this machine from writing to a folder; a kill releases it, too.

    The folder need not exist; the lock file is in the cache folder, not in the user's.

    Raises:
        PruneGymError: If another process is using it.
    """
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    locks = home() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{name}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise PruneGymError(
            f"Another process is using {str(folder)!r}. Wait until it ends, or stop it (a "
            "process continues even if its parent was killed)."
        ) from error
    try:
        yield
    finally:
        lock.release()


def prepare(folder: Path, overwrite: bool) -> None:
    """Make an empty folder for a run; ``overwrite`` removes an earlier run in it.

    Raises:
        PruneGymError: If the folder is not empty, or holds anything but a run.
    """
    if folder.exists() and not folder.is_dir():
        raise PruneGymError(f"out={str(folder)!r} is a file, not a folder. Name another.")
    if folder.is_dir() and any(folder.iterdir()):
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
        others = {path.name for path in folder.iterdir()} - set(ENTRIES)
        if others:
            raise PruneGymError(
                f"overwrite: {str(folder)!r} also contains {sorted(others)[0]!r}, which is not "
                "part of a run, so nothing was deleted. Name another folder."
            )
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    folder.mkdir(parents=True, exist_ok=True)


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
    whole = [line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    episodes = []
    for number, line in enumerate(whole, start=1):
        where = f"{str(path)!r} line {number}"
        episodes.append(Episode.from_json(parse_json(line, where), where))
    return episodes


def keep_episodes(folder: Path, count: int) -> list[Episode]:
    """Remove all but the first episodes, and return these; the others will be played again."""
    kept = [episode for episode in read_episodes(folder) if episode.number < count]
    text = "".join(json.dumps(episode.to_json(), allow_nan=False) + "\n" for episode in kept)
    if (folder / EPISODES).is_file():
        write_atomically(folder / EPISODES, lambda path: path.write_text(text, encoding="utf-8"))
    return kept
