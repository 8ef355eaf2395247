"""Runs the cells of a benchmark, each an agent with a seed, in processes side by side."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from benchmarks.tasks import Task
from prune_gym.cli import run_folder
from prune_gym.errors import PruneGymError
from prune_gym.files import write_json

MARK = "task.json"


@dataclass(frozen=True)
class Cell:
    """One agent with one seed.

    Args:
        agent: Its name, or ``package.module:Class``.
        seed: Of agent and environment.
        folder: Of the run.
    """

    agent: str
    seed: int
    folder: Path

    @property
    def log(self) -> Path:
        """What the run printed."""
        return self.folder.with_suffix(".log")

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / run_folder.BEST / "report.json").is_file()


def cells(out: Path, agents: Sequence[str], seeds: int) -> list[Cell]:
    """All cells, all agents' first seeds first.

    Args:
        out: Folder of the benchmark.
        agents: Names.
        seeds: How many of each, from 0.
    """
    return [
        Cell(agent, seed, out / f"{agent.replace(':', '-')}-{seed}")
        for seed in range(seeds)
        for agent in agents
    ]


def prepare(out: Path, task: Task, dataset: str | None) -> None:
    """Make the benchmark's folder, or go on with one.

    Raises:
        PruneGymError: The folder holds another task, another version, or something else.
    """
    own = {"task": task.name, "version": task.version, "dataset": dataset}
    path = out / MARK
    if path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise PruneGymError(
                f"{str(path)!r} is damaged ({error}). Name another --out."
            ) from error
        if found != own:
            raise PruneGymError(
                f"{str(out)!r} holds {found}, not {own}: their cells must not be mixed. Name "
                "another --out."
            )
        return
    if out.is_dir() and any(out.iterdir()):
        raise PruneGymError(
            f"{str(out)!r} is not empty and holds no benchmark. Name another --out."
        )
    write_json(path, own)


def run_cell(task: Task, cell: Cell, dataset: str | None, device: str) -> str | None:
    """Run a cell in a process of its own, from its last checkpoint where there is one.

    Returns:
        None, or the last lines that a failed process printed.
    """
    command = [sys.executable, "-m", "prune_gym.cli"]
    if (cell.folder / run_folder.CONFIG).is_file():
        command += ["train", "--resume", str(cell.folder), "--quiet"]
    else:
        command += task.command(cell.agent, cell.seed, cell.folder, dataset, device)
    # Several torch processes with all cores each would wait for one another.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with cell.log.open("a", encoding="utf-8") as log:
        code = subprocess.run(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False
        ).returncode
    if code == 0 and cell.done:
        return None
    last = cell.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
    return f"ended with {code}: " + " / ".join(last)


def run(
    task: Task,
    todo: Sequence[Cell],
    workers: int,
    dataset: str | None = None,
    device: str = "cpu",
    progress: Callable[[Cell, str | None], None] | None = None,
) -> dict[str, str]:
    """Run cells; one that fails does not keep the others from running.

    Args:
        task: What they run.
        todo: The cells; those done are left out.
        workers: Processes side by side, each with one thread.
        dataset: The images, where the task asks for them.
        device: Where networks run.
        progress: Called behind each cell with what went wrong, or None.

    Returns:
        For each failed cell, by its folder's name, what went wrong.

    Raises:
        ValueError: No worker.
    """
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    failed: dict[str, str] = {}
    with ThreadPoolExecutor(workers) as pool:
        running = {
            pool.submit(run_cell, task, cell, dataset, device): cell
            for cell in todo
            if not cell.done
        }
        for future in as_completed(running):
            cell, wrong = running[future], future.result()
            if wrong is not None:
                failed[cell.folder.name] = wrong
            if progress is not None:
                progress(cell, wrong)
    return failed
