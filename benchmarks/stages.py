"""Stages of long work: commands that are stopped at a time limit and continued by the next call."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from prune_gym.runs import folder as files
from prune_gym.runs.config import RunConfig

UNFINISHED = 75
"""Exit status of a script that ran out of time (``EX_TEMPFAIL``): call it again."""
OUT_OF_TIME = "the time is over"
POLL = 0.2
"""Seconds between two checks whether a command has to end."""


@dataclass(frozen=True)
class Stage:
    """One command and its result.

    Args:
        name: Name for people.
        done: Whether the result is there.
        command: Words of the command; called when the stages before are done.
        log: File that the command's output is appended to.
    """

    name: str
    done: Callable[[], bool]
    command: Callable[[], Sequence[str]]
    log: Path


def deadline(minutes: float | None) -> float | None:
    """The end of a time limit on the monotonic clock; None: no limit."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def search_stage(config: RunConfig, name: str, log: Path) -> Stage:
    """The stage of a run."""
    command = [sys.executable, "-P", "-m", "benchmarks.worker", json.dumps(config.to_json())]
    return Stage(name, lambda: files.finished(config.folder), lambda: command, log)


def scratch_stage(run: RunConfig, epochs: Callable[[], float], weights: Path, log: Path) -> Stage:
    """The stage that trains the shape of a finished run from scratch, with its images and seed.

    The number of epochs is asked for when the run is finished. The stage writes ``weights``, a
    safetensors file, and beside it the recipe with the accuracies.
    """
    return Stage(
        "scratch",
        weights.with_suffix(".json").is_file,
        lambda: _scratch_command(run, epochs(), weights),
        log,
    )


def _scratch_command(run: RunConfig, epochs: float, weights: Path) -> list[str]:
    given = run.environment()
    words = [sys.executable, "-P", "-m", "prune_gym.cli", "pretrain", "--test", "--quiet"]
    for option, value in (
        ("--shape", run.folder / files.BEST),
        ("--out", weights),
        ("--epochs", f"{epochs:.4g}"),
        ("--seed", run.seed),
        ("--image-size", given.image_size),
        ("--image-channels", given.image_channels),
        ("--dataset", given.dataset),
        ("--device", given.device),
        ("--threads", given.threads),
    ):
        words += [option, str(value)]
    if ":" in str(given.network):
        words += ["--trust", str(given.network)]  # the saved network names it
    return words


def run_stage(stage: Stage, until: float | None = None, stop: Event | None = None) -> str | None:
    """Run a stage unless it is done, see :func:`run_command`.

    Returns:
        None, or why it is not done: :data:`OUT_OF_TIME`, or the last lines that it printed.
    """
    if stage.done():
        return None
    code = run_command(stage.command(), stage.log, until, stop)
    if code is None:
        return OUT_OF_TIME
    if code == 0 and stage.done():
        return None
    cause = last_lines(stage.log) or "it printed nothing; a negative status is a signal, -9 a kill"
    return f"ended with {code}: {cause}"


def run_command(
    words: Sequence[str], log: Path, until: float | None = None, stop: Event | None = None
) -> int | None:
    """Run a command with one thread for each library; its output is appended to a log.

    At the time limit the command is killed; if another thread sets ``stop``, it saves its state and
    ends.

    Returns:
        The exit status; None if the command was stopped, or not started for lack of time.
    """
    stop = stop or Event()
    if _over(until) or stop.is_set():
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    # Several torch processes that all use every core wait for one another.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # In a process group of its own, the command gets a Ctrl-C from this process alone, and once:
    # a second one would interrupt the saving.
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, env=environment, process_group=0
        ) as process,
    ):
        try:
            while not stop.is_set():
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=POLL)
                if _over(until):
                    process.kill()
                    return None
        finally:
            if process.poll() is None:
                process.terminate()
    return None


def _over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until


def last_lines(log: Path, count: int = 3) -> str:
    """The end of a log, for messages."""
    if not log.is_file():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(lines[-count:])
