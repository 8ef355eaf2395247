"""Long work in pieces: commands that are stopped at a time and taken up again later."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

CLI = (sys.executable, "-m", "prune_gym.cli")
UNFINISHED = 75
"""Exit status of a script whose time was over (``EX_TEMPFAIL``): call it again."""


def deadline(minutes: float | None) -> float | None:
    """The moment, on the monotonic clock, at which so many minutes are over; None: never."""
    return None if minutes is None else time.monotonic() + 60 * minutes


def carry_out(words: Sequence[str], log: Path, until: float | None = None) -> int | None:
    """Run a command with one thread for each library; what it prints is added to a log.

    Args:
        words: The command.
        log: Its folder is made if need be.
        until: From :func:`deadline`; the command is killed then.

    Returns:
        Its exit status; None where it was killed, or not begun for the time was over.
    """
    left = None if until is None else until - time.monotonic()
    if left is not None and left <= 0:
        return None
    log.parent.mkdir(parents=True, exist_ok=True)
    # Several torch processes with all cores each would wait for one another.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with log.open("a", encoding="utf-8") as file:
        try:
            return subprocess.run(
                words, stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=left
            ).returncode
        except subprocess.TimeoutExpired:
            return None


def last_lines(log: Path, count: int = 3) -> str:
    """The end of a log, for messages."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " / ".join(lines[-count:])
