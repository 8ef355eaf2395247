"""Runs, read from their folders and from files of benchmark records, and records of runs."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from prune_gym import manifest
from prune_gym.errors import PruneGymError
from prune_gym.export import ONNX, PT2
from prune_gym.files import write_atomically
from prune_gym.jsonfile import (
    MOST_LINES,
    Amount,
    Count,
    JsonRecord,
    Share,
    check_size,
    parse_json,
    read_json,
)
from prune_gym.pruning.saved import DESCRIPTION, WEIGHTS
from prune_gym.runs import folder as files
from prune_gym.runs.records import SCHEMA, Episode, Report, Setup, Spending, best_so_far

REPORT = Path(files.BEST) / files.REPORT
SCRATCH = "scratch.json"
MARK = "task.json"
"""Beside the runs of a benchmark: name and version of the task, and the images."""
IMAGES = "imagefolder:"
ANONYMOUS = f"{IMAGES}PATH"
"""Name of an image folder in records, without its place on the machine."""


@dataclass(frozen=True)
class ScratchOptions:
    """Options of a training from scratch."""

    epochs: Amount


@dataclass(frozen=True)
class Scratch(JsonRecord):
    """The same shape trained from scratch, as ``prune-gym pretrain --shape --test`` records it."""

    PARTIAL = True

    validation_accuracy: Share
    test_accuracy: Share
    options: ScratchOptions


@dataclass(frozen=True)
class Mark(JsonRecord):
    """The task of a benchmark's folder, and the images if the task asks for them."""

    task: str
    version: Count
    dataset: str | None = None


@dataclass(frozen=True)
class Record(JsonRecord):
    """A line of a file of benchmark records: a :class:`Result`.

    Only the episodes whose network was the best so far have their steps, and the report is without
    what the record holds already.
    """

    SCHEMA = SCHEMA

    setup: Setup
    episodes: tuple[Episode, ...]
    report: dict[str, Any] | None = None
    scratch: Scratch | None = None
    task: str | None = None
    task_version: Count | None = None


@dataclass(frozen=True)
class Result:
    """One run of one agent with one seed.

    Args:
        source: Folder of the run, or file and line of its record.
        setup: What the run was started with.
        episodes: The episodes of the search, in order.
        report: The final network; None if the run is not finished.
        scratch: The same shape trained from scratch; None if it was not trained.
        task: Name and version of the benchmark task; None for a run outside of one.
        folder: Folder of the run; None for a record.
    """

    source: str
    setup: Setup
    episodes: tuple[Episode, ...]
    report: Report | None
    scratch: Scratch | None = None
    task: tuple[str, int] | None = None
    folder: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a fine-tuned and measured network."""
        return self.report is not None

    @property
    def agent(self) -> str:
        """Name of the agent."""
        return self.setup.config.agent

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return self.setup.config.seed


def load(paths: Iterable[str | Path]) -> list[Result]:
    """Read runs.

    Args:
        paths: Folders of runs, folders that hold such at any depth, and files of benchmark
            records (JSON lines).

    Returns:
        The runs, by path in the order given, within one sorted by folder or line.

    Raises:
        PruneGymError: A path holds no run, or a file is damaged, incomplete or of another schema;
            the message names file and remedy.
    """
    results: list[Result] = []
    for path in map(Path, paths):
        if path.is_dir():
            folders = list(_run_folders(path))
            if not folders:
                raise PruneGymError(
                    f"{str(path)!r} holds no run (no {files.CONFIG} at any depth). Name the "
                    "folders that `prune-gym train --out` wrote, or files of records (*.jsonl)."
                )
            results += [_read_folder(folder) for folder in folders]
        elif path.is_file():
            results += list(_read_records(path))
        else:
            raise PruneGymError(f"{str(path)!r} does not exist. Name a run's folder or a file.")
    return results


def _run_folders(path: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(path):
        folders.sort()
        if files.CONFIG in names:
            folders.clear()
            yield Path(root)


def _read_folder(folder: Path) -> Result:
    try:
        setup, episodes = files.read_setup(folder), files.read_episodes(folder)
        report = files.read_report(folder)
    except PruneGymError as error:
        raise PruneGymError(f"{error} Run it again, or name the other runs alone.") from error
    if report is not None:
        # A copy may lack the models.
        there = [name for name in (WEIGHTS, ONNX, PT2) if (folder / files.BEST / name).is_file()]
        remedy = "Run it again, or leave it out."
        manifest.check(folder / files.BEST, remedy, [DESCRIPTION, *there])
        if episodes and len(episodes) != report.search.episodes:
            raise PruneGymError(
                f"{str(folder / files.EPISODES)!r} holds {len(episodes)} episodes, but the report "
                f"is of {report.search.episodes}: lines were lost or repeated. {remedy}"
            )
    path = folder / SCRATCH
    scratch = Scratch.from_json(_read(path), repr(str(path))) if path.is_file() else None
    path, task = folder.parent / MARK, None
    if path.is_file():
        mark = Mark.from_json(_read(path), repr(str(path)))
        task = mark.task, mark.version
    if report is not None and not episodes:
        raise PruneGymError(
            f"{folder / files.EPISODES} holds no episode, though there is a report. Run it again, "
            "or leave it out."
        )
    return Result(str(folder), setup, tuple(episodes), report, scratch, task, folder)


def _read(path: Path) -> Any:
    with _remedy("Make it again, or leave the run out."):
        return read_json(path)[0]


def _parse(text: str, where: str, remedy: str) -> Any:
    with _remedy(remedy):
        return parse_json(text, where)


@contextmanager
def _remedy(remedy: str) -> Iterator[None]:
    """Add what to do to the errors of damaged files."""
    try:
        yield
    except PruneGymError as error:
        raise PruneGymError(f"{error} {remedy}") from error


def _read_records(path: Path) -> Iterator[Result]:
    check_size(path, MOST_LINES)
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise PruneGymError(f"{str(path)!r} is no text ({error}). Name *.jsonl files.") from error
    if path.suffix == ".json":
        raise PruneGymError(
            f"{str(path)!r} is not a file of benchmark records. Name *.jsonl files."
        )
    if not text.strip():
        raise PruneGymError(f"{str(path)!r} holds no record. Leave it out.")
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            where = f"{str(path)!r} line {number}"
            remedy = "Remove that line, or write the record again."
            yield _record(_parse(line, where, remedy), where)


# Records


def _record(value: object, where: str) -> Result:
    record = Record.from_json(value, where)
    setup, report = record.setup, None
    if record.report is not None and record.episodes:
        # The rest of the report is in the record already.
        search = asdict(Spending.of(record.episodes))
        shared = {"schema": SCHEMA, "setup": setup.to_json(), "search": search}
        report = Report.from_json(record.report | shared, f"{where}, report")
    task = None
    if record.task is not None and record.task_version is not None:
        task = record.task, record.task_version
    return Result(where, setup, record.episodes, report, record.scratch, task)


def write(path: Path, results: Sequence[Result]) -> None:
    """Replace a file by the records of finished runs, as JSON lines.

    Steps are kept of the episodes whose network was the best so far.
    """
    text = "".join(json.dumps(_to_json(result), allow_nan=False) + "\n" for result in results)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _to_json(result: Result) -> dict[str, Any]:
    assert result.report is not None
    shared = ("schema", "setup", "search")
    report = {n: value for n, value in result.report.to_json().items() if n not in shared}
    best = best_so_far(result.setup, result.episodes)
    episodes = tuple(
        episode if kept else replace(episode, steps=())
        for episode, kept in zip(result.episodes, best, strict=True)
    )
    task, version = result.task or (None, None)
    record = Record(result.setup, episodes, report, result.scratch, task, version).to_json()
    arguments = record["setup"]["config"]["env_arguments"]
    if str(arguments.get("dataset", "")).startswith(IMAGES):
        arguments["dataset"] = ANONYMOUS
    return record
