"""Commands end as on Ctrl-C when the system asks them to: what was found is saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""Sent when a scheduler or container stops a job, or a terminal closes."""


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Make :data:`SIGNALS` raise KeyboardInterrupt within, as Ctrl-C does.

    A signal that the process ignores (``nohup``) stays ignored. Outside the main thread nothing is
    changed, because Python allows handlers only there.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
