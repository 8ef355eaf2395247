"""Runs the cells of a benchmark, each an agent with a seed, in processes side by side."""

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from benchmarks.pieces import CLI, carry_out, last_lines
from benchmarks.results import MARK, REPORT, SCRATCH, Result, load
from benchmarks.tasks import Task
from prune_gym.errors import PruneGymError
from prune_gym.files import write_json
from prune_gym.runs import folder as run_folder

OUT_OF_TIME = "the time is over"


@dataclass(frozen=True)
class Cell:
    """One agent with one seed.

    Args:
        agent: As for :func:`benchmarks.tasks.variant`.
        seed: Of agent and environment.
        folder: Of the run.
        scratch: Whether the shape that it finds is trained from scratch too.
    """

    agent: str
    seed: int
    folder: Path
    scratch: bool = False

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.folder.with_name(self.folder.name + ".log")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return (self.folder / REPORT).is_file()

    @property
    def done(self) -> bool:
        """Whether its result is there, and the control's."""
        return self.finished and (not self.scratch or (self.folder / SCRATCH).is_file())


def cells(out: Path, agents: Sequence[str], seeds: int, scratch: bool = False) -> list[Cell]:
    """All cells, all agents' first seeds first.

    Args:
        out: Folder of the benchmark.
        agents: Names.
        seeds: How many of each, from 0.
        scratch: Whether the shapes that they find are trained from scratch too.
    """
    return [
        Cell(agent, seed, out / f"{folder_name(agent)}-{seed}", scratch)
        for seed in range(seeds)
        for agent in agents
    ]


def folder_name(agent: str) -> str:
    """An agent's name and options as part of a folder's name."""
    return re.sub(r"[^\w.=@+,-]", "-", agent)


def prepare(out: Path, task: Task, dataset: str | None) -> None:
    """Make the benchmark's folder, or go on with one.

    Raises:
        PruneGymError: The folder holds another task, another version, or something else.
    """
    own = {"task": task.name, "version": task.version, "dataset": dataset}
    path = out / MARK
    if out.exists() and not out.is_dir():
        raise PruneGymError(f"--out {str(out)!r} is a file, not a folder. Name another.")
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise PruneGymError(
                f"{str(path)!r} is damaged ({error}). Name another --out."
            ) from error
        if found != own:
            raise PruneGymError(
                f"{str(out)!r} holds cells of {_words(found)}, not of {_words(own)}: they must not "
                "be mixed. Name another --out."
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise PruneGymError(
            f"{str(out)!r} is not empty and holds no benchmark. Name another --out."
        )
    write_json(path, own)


def _words(mark: object) -> str:
    if not isinstance(mark, dict):
        return repr(mark)
    return ", ".join(f"{name} {value}" for name, value in mark.items() if value is not None)


def finished(out: Path) -> list[Result]:
    """The results of all finished cells of a benchmark's folder, by seed and agent.

    Args:
        out: Folder of the benchmark; cells of earlier calls count too.

    Raises:
        PruneGymError: A cell's files are damaged.
    """
    folders = [report.parents[1] for report in out.glob(f"*/{REPORT}")]
    results = load(folders) if folders else []
    return sorted(results, key=lambda each: (each.config["seed"], each.config["agent"]))


def run_cell(
    task: Task,
    cell: Cell,
    dataset: str | None,
    device: str,
    until: float | None = None,
    stop: Event | None = None,
) -> str | None:
    """Run what is left of a cell, each part in a process of its own.

    The run goes on from its last checkpoint where there is one; the from-scratch control follows.

    Returns:
        None, or what went wrong: the last lines that a failed process printed, or
        :data:`OUT_OF_TIME`.
    """
    if not cell.finished:
        if (cell.folder / run_folder.CONFIG).is_file():
            words = ["train", "--resume", str(cell.folder), "--quiet"]
        else:
            words = task.command(cell.agent, cell.seed, cell.folder, dataset, device)
        code = carry_out([*CLI, *words], cell.log, until, stop)
        if code != 0 or not cell.finished:
            return _failure(code, cell.log)
    if not cell.done:
        words = task.scratch_command(cell.folder, cell.seed, dataset, device)
        code = carry_out([*CLI, *words], cell.log, until, stop)
        if code != 0 or not cell.done:
            return _failure(code, cell.log)
    return None


def _failure(code: int | None, log: Path) -> str:
    if code is None:
        return OUT_OF_TIME
    cause = last_lines(log) or "it printed nothing; a negative status is a signal, -9 a kill"
    return f"ended with {code}: {cause}"


def run(
    task: Task,
    todo: Sequence[Cell],
    workers: int,
    dataset: str | None = None,
    device: str = "cpu",
    progress: Callable[[Cell, str | None], None] | None = None,
    until: float | None = None,
) -> dict[str, str]:
    """Run cells; one that fails does not keep the others from running.

    Args:
        task: What they run.
        todo: The cells; those done are left out.
        workers: Processes side by side, each with one thread.
        dataset: The images, where the task asks for them.
        device: Where networks run.
        progress: Called after each cell with what went wrong, or None.
        until: From :func:`benchmarks.pieces.deadline`; cells under way are broken off then.

    Returns:
        For each failed cell, by its folder's name, what went wrong.

    Raises:
        ValueError: No worker.
        KeyboardInterrupt: Ctrl-C; the cells under way have saved what they had and ended.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    failed: dict[str, str] = {}
    stop = Event()
    with ThreadPoolExecutor(workers) as pool:
        running = {
            pool.submit(run_cell, task, cell, dataset, device, until, stop): cell
            for cell in todo
            if not cell.done
        }
        try:
            for future in as_completed(running):
                cell, wrong = running[future], future.result()
                if wrong is not None:
                    failed[cell.folder.name] = wrong
                if progress is not None:
                    progress(cell, wrong)
        except BaseException:
            # Without this the pool would begin the cells that are left before it lets go.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed
