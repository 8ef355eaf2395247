"""Run the cells of a benchmark in parallel processes; a cell is one agent with one seed."""

import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from tqdm import tqdm

from benchmarks.results import MARK, REPORT, SCRATCH, Result, load, write
from benchmarks.stages import Stage, run_stage, scratch_stage, search_stage
from benchmarks.tasks import Task
from prune_gym.errors import PruneGymError
from prune_gym.files import write_json
from prune_gym.jsonfile import read_json
from prune_gym.runs.agents import completed
from prune_gym.runs.config import RunConfig
from prune_gym.runs.folder import entries, read_report

CONTROL = "l1"
"""The agent that spends everything on training: the shape that it finds is the plainest one."""


@dataclass(frozen=True)
class Cell:
    """One agent with one seed: its run and, if the benchmark wants it, a from-scratch control."""

    folder: Path
    stages: tuple[Stage, ...]

    @property
    def done(self) -> bool:
        """Whether the results of all stages are there."""
        return all(stage.done() for stage in self.stages)


@dataclass(frozen=True)
class Benchmark:
    """Agents on a task, in one folder that a later call continues.

    Args:
        task: The task.
        out: Folder of the runs.
        agents: Names of the agents, as for :func:`benchmarks.tasks.variant`.
        seeds: Number of seeds of each agent, from 0.
        dataset: The images, if the task asks for them.
        device: Device of the networks.
        scratch: Whether the shape of one run is trained from scratch too, with the whole budget:
            that of the first seed of ``l1``, or of the first agent.
    """

    task: Task
    out: Path
    agents: Sequence[str]
    seeds: int = 1
    dataset: str | None = None
    device: str = "cpu"
    scratch: bool = True

    @property
    def path(self) -> Path:
        """The file of the records."""
        return self.out / "records.jsonl"

    def prepare(self) -> None:
        """Mark the folder, which this process has claimed."""
        self.check_folder()
        if not (self.out / MARK).is_file():
            write_json(self.out / MARK, self._mark)

    @property
    def _mark(self) -> dict[str, object]:
        """The content of the file that names the task of a folder."""
        return {"task": self.task.name, "version": self.task.version, "dataset": self.dataset}

    def check_folder(self) -> None:
        """Refuse a folder that holds another task or version, or other files."""
        own, path, out = self._mark, self.out / MARK, self.out
        if out.exists() and not out.is_dir():
            raise PruneGymError(f"--out {str(out)!r} is a file, not a folder. Name another.")
        if path.is_file():
            try:
                found, _ = read_json(path)
            except PruneGymError as error:
                raise PruneGymError(f"{error} Name another --out.") from error
            if found != own:
                raise PruneGymError(
                    f"{str(out)!r} holds cells of {_words(found)}, not of {_words(own)}: they must "
                    "not be mixed. Name another --out."
                )
        elif out.is_dir() and entries(out):
            raise PruneGymError(
                f"{str(out)!r} is not empty and holds no benchmark. Name another --out."
            )

    def check(self) -> None:
        """Refuse agents, options and images with which every cell would fail."""
        for agent in self.agents:
            completed(self._config(agent, 0))

    def _config(self, agent: str, seed: int) -> RunConfig:
        folder = self.out / f"{folder_name(agent)}-{seed}"
        return self.task.run_config(agent, seed, folder, self.dataset, self.device)

    def comparable(self, results: Sequence[Result]) -> list[Result]:
        """The finished results; one of another task or version is refused."""
        for result in results:
            if result.task != (self.task.name, self.task.version):
                other = " version ".join(map(str, result.task or ("no task",)))
                raise PruneGymError(
                    f"{result.source} is of {other}, not of {self.task.name} version "
                    f"{self.task.version}: they must not be shown in one table."
                )
        return [result for result in results if result.finished]

    def cells(self) -> list[Cell]:
        """All cells, the first seeds of all agents first."""
        return [self._cell(agent, seed) for seed in range(self.seeds) for agent in self.agents]

    def _cell(self, agent: str, seed: int) -> Cell:
        config = self._config(agent, seed)
        folder = config.folder
        log = folder.with_name(folder.name + ".log")
        stages = [search_stage(config, "search", log)]
        if self.scratch and seed == 0 and agent == self._with_scratch:
            weights = (folder / SCRATCH).with_suffix(".safetensors")
            stages.append(scratch_stage(config, partial(epochs_from_scratch, folder), weights, log))
        return Cell(folder, tuple(stages))

    @property
    def _with_scratch(self) -> str:
        """The agent whose shape is trained from scratch."""
        return CONTROL if CONTROL in self.agents else self.agents[0]

    def write_records(self) -> list[Result]:
        """Write the records of all finished runs of the folder, those of earlier calls too.

        Returns:
            The finished runs, by seed and agent; without any, no file is written.
        """
        folders = [report.parents[1] for report in self.out.glob(f"*/{REPORT}")]
        found = sorted(load(folders), key=lambda each: (each.seed, each.agent))
        if found:
            write(self.path, found)
        return found

    def run(
        self, workers: int = 1, quiet: bool = False, until: float | None = None
    ) -> dict[str, str]:
        """Run what is left, with a progress bar; records are written after every cell.

        Args, result and errors are those of :func:`run_cells`; ``quiet`` leaves the bar out.
        """
        cells = self.cells()
        initial = sum(cell.done for cell in cells)
        with tqdm(
            total=len(cells), initial=initial, unit="cell", desc=self.task.name, disable=quiet
        ) as bar:

            def progress(cell: Cell, wrong: str | None) -> None:
                bar.update(1)
                bar.set_postfix_str(f"{cell.folder.name} {'done' if wrong is None else 'FAILED'}")
                if wrong is None:
                    # At once: the next cells may take hours and be interrupted.
                    self.write_records()
                else:
                    bar.write(f"{cell.folder.name} {wrong}", file=sys.stderr)

            return run_cells(cells, workers, progress, until)


def epochs_from_scratch(folder: Path) -> float:
    """Epochs that train the shape of a finished run with the whole budget of the run."""
    report = read_report(folder)
    assert report is not None
    assert report.setup.config.budget is not None
    return report.setup.config.budget * report.ratios["macs"]


def folder_name(agent: str) -> str:
    """An agent's name and options as part of a folder's name."""
    return re.sub(r"[^\w.=@+,-]", "-", agent)


def _words(mark: object) -> str:
    if not isinstance(mark, dict):
        return repr(mark)
    return ", ".join(f"{name} {value}" for name, value in mark.items() if value is not None)


def run_cells(
    cells: Sequence[Cell],
    workers: int,
    progress: Callable[[Cell, str | None], None],
    until: float | None = None,
) -> dict[str, str]:
    """Run cells; one that fails does not stop the others.

    Args:
        cells: The cells; those done are left out.
        workers: Number of parallel processes, each with one thread.
        progress: Called after each cell with the reason of a failure, or None.
        until: Time limit from :func:`benchmarks.stages.deadline`.

    Returns:
        For each cell that is not done, by its folder's name, why.

    Raises:
        KeyboardInterrupt: Ctrl-C; the runs under way have saved their state.
    """
    failed: dict[str, str] = {}
    stop = Event()
    with ThreadPoolExecutor(workers) as pool:
        running = {
            pool.submit(_run_cell, cell, until, stop): cell for cell in cells if not cell.done
        }
        try:
            for future in as_completed(running):
                cell, wrong = running[future], future.result()
                if wrong is not None:
                    failed[cell.folder.name] = wrong
                progress(cell, wrong)
        except BaseException:
            # Without this the pool would start the remaining cells before it ends.
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return failed


def _run_cell(cell: Cell, until: float | None, stop: Event) -> str | None:
    """Run the stages of a cell up to the first that fails."""
    reasons = (run_stage(stage, until, stop) for stage in cell.stages)
    return next((wrong for wrong in reasons if wrong is not None), None)
