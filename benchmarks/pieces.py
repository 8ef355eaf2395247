"""Long work in pieces: commands that are stopped at a time and taken up again later."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event

CLI = (sys.executable, "-m", "prune_gym.cli")
UNFINISHED = 75
"""Exit status of a script whose time was over (``EX_TEMPFAIL``): call it again."""
GLANCE = 0.2
"""Seconds between two looks at whether a command has to end."""


def deadline(minutes: float | None) -> float | None:
    """The moment, on the monotonic clock, at which so many minutes are over; None: never."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def carry_out(
    words: Sequence[str], log: Path, until: float | None = None, stop: Event | None = None
) -> int | None:
    """Run a command with one thread for each library; what it prints is added to a log.

    Args:
        words: The command.
        log: Its folder is made if need be.
        until: From :func:`deadline`; the command is killed then.
        stop: Set by another thread, asks the command to save what it has and to end.

    Returns:
        Its exit status; None where it was stopped, or not begun for the time was over.
    """
    if _over(until) or (stop is not None and stop.is_set()):
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    # Several torch processes with all cores each would wait for one another.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # In a process group of its own a Ctrl-C reaches it by this process alone, and once: a second
    # one would break off the saving.
    with (
        log.open("a", encoding="utf-8") as file,
        subprocess.Popen(
            words, stdout=file, stderr=subprocess.STDOUT, env=environment, process_group=0
        ) as process,
    ):
        try:
            while stop is None or not stop.is_set():
                with suppress(subprocess.TimeoutExpired):
                    return process.wait(timeout=GLANCE)
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
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(lines[-count:])
