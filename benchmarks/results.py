"""Finished and unfinished runs, read from run folders and from files of benchmark records."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import first_schema, schema
from prune_gym.errors import PruneGymError
from prune_gym.pruning.saved import DESCRIPTION
from prune_gym.runs import folder as run_folder

SCHEMA = 1
REPORT = Path(run_folder.BEST) / "report.json"
SCRATCH = "scratch.json"
MARK = "task.json"
"""Beside the runs of a benchmark: their task, its version and the images."""


@dataclass(frozen=True)
class Result:
    """One run of one agent with one seed.

    Attributes:
        source: Where it was read: a folder, or a file and line.
        config: What ran (``config.json``).
        episodes: What the search found (``episodes.jsonl``), in order.
        report: What came out (``best/report.json``); None for a run that did not finish.
        scratch: Accuracies of the same shape trained from scratch, as ``prune-gym pretrain
            --shape`` writes them; None where that was not done.
        task: Name and version of the benchmark's task; None for a run outside of it.
        folder: Of the run, where there is one.
    """

    source: str
    config: Mapping[str, Any]
    episodes: tuple[Mapping[str, Any], ...]
    report: Mapping[str, Any] | None
    scratch: Mapping[str, Any] | None = None
    task: tuple[str, int] | None = None
    folder: Path | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a fine-tuned and measured network."""
        return self.report is not None


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
                    f"{str(path)!r} holds no run (no {run_folder.CONFIG} at any depth). Name the "
                    "folders that `prune-gym train --out` wrote, or files of records (*.jsonl)."
                )
            results += [_read_folder(folder) for folder in folders]
        elif path.is_file():
            results += list(_read_records(path))
        else:
            raise PruneGymError(f"{str(path)!r} does not exist. Name a run's folder or a file.")
    return results


def _run_folders(path: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(path):
        folders.sort()
        if run_folder.CONFIG in files:
            folders.clear()
            yield Path(root)


def _read_folder(folder: Path) -> Result:
    where = str(folder / run_folder.CONFIG)
    try:
        setup = run_folder.read_setup(folder)
        config = first_schema.config_of(setup)
        episodes = first_schema.episodes_of(setup, run_folder.read_episodes(folder))
        found = run_folder.read_report(folder)
        report = None if found is None else first_schema.report_of(found)
    except PruneGymError as error:
        raise PruneGymError(f"{error} Run it again, or leave the run out.") from error
    if report is not None and not (folder / run_folder.BEST / DESCRIPTION).is_file():
        raise PruneGymError(
            f"{str(folder)!r} has a report but no {run_folder.BEST}/{DESCRIPTION}: files are "
            "missing. Make them again with `prune-gym export`."
        )
    result = Result(
        str(folder), config, tuple(episodes), report, _read_json(folder / SCRATCH),
        _task_of(folder), folder,
    )  # fmt: skip
    return _checked(result, where, str(folder / run_folder.EPISODES), str(folder / REPORT))


def _task_of(folder: Path) -> tuple[str, int] | None:
    """Name and version of the benchmark's task that a run is a cell of, if any."""
    mark = _read_json(folder.parent / MARK)
    if mark is None:
        return None
    schema.check(mark, schema.MARK, str(folder.parent / MARK))
    return mark["task"], mark["version"]


def _read_json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except ValueError as error:
        raise PruneGymError(
            f"{str(path)!r} is damaged ({error}). Make it again, or leave the run out."
        ) from error
    if not isinstance(value, dict):
        raise PruneGymError(f"{str(path)!r} holds no table. Make it again, or leave the run out.")
    return value


def _read_records(path: Path) -> Iterator[Result]:
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise PruneGymError(f"{str(path)!r} is no text ({error}). Name *.jsonl files.") from error
    if path.suffix == ".json":
        raise PruneGymError(
            f"{str(path)!r} is a record of its own kind, not benchmark records. Name *.jsonl files."
        )
    lines = text.splitlines()
    if not any(line.strip() for line in lines):
        raise PruneGymError(f"{str(path)!r} holds no record. Leave it out.")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{str(path)!r} line {number}"
        try:
            record = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise PruneGymError(
                f"{where} is cut off or damaged ({error}). Remove that line, or write the "
                "record again."
            ) from error
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            own = record.get("schema") if isinstance(record, dict) else None
            raise PruneGymError(
                f"{where} is of schema {own!r}, not {SCHEMA}. Use the version of prune_gym "
                "that wrote it, or leave the file out."
            )
        schema.check(record, schema.RECORD, where)
        yield _checked(
            Result(
                where,
                record["config"],
                tuple(record["episodes"]),
                record.get("report"),
                record.get("scratch"),
                (record["task"], record["task_version"]),
            ),
            where,
            where,
            where,
        )


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no number of ours")


def _checked(result: Result, config: str, episodes: str, report: str) -> Result:
    """Hold a result against what figures and tables read; the names are for the errors."""
    schema.check(result.config, schema.CONFIG, config)
    for number, episode in enumerate(result.episodes):
        schema.check(episode, schema.EPISODE, f"{episodes}, episode {number}")
    if result.scratch is not None:
        schema.check(result.scratch, schema.SCRATCH, f"{report}, from-scratch control")
    if result.report is not None:
        schema.check(result.report, schema.REPORT, f"{report}, report")
        if not result.episodes:
            raise PruneGymError(
                f"{episodes} holds no episode, though there is a report. Run it again, or leave "
                "it out."
            )
    return result
