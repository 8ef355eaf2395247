"""The project's exceptions; each message names the bad value and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 80
"""Characters of a bad value that an error shows."""


def shown(value: object) -> str:
    """The ``repr`` of a bad value for an error, cut to ``SHOWN`` characters."""
    text = value[: SHOWN + 1] if isinstance(value, str | bytes) else value
    try:
        result = " ".join(repr(text).split())
    except (ValueError, RecursionError):  # an integer of over 4,300 digits, deep nesting
        result = f"a value of type {type(value).__name__}"
    return result if len(result) <= SHOWN else f"{result[:SHOWN]}..."


class PruneGymError(Exception):
    """Base class of the project's exceptions; the command line prints them without a traceback."""


class DataError(PruneGymError):
    """A data set is missing, empty or unreadable."""


class WeightsError(PruneGymError):
    """Weights are missing, damaged, or do not fit the network."""


class WriteError(PruneGymError, OSError):
    """A file or folder cannot be written, because the disk is full or read-only, for example."""


class DamagedError(WeightsError):
    """A file is missing or has changed since it was written."""


class TargetError(PruneGymError):
    """No reachable network meets the target."""


class ExportError(PruneGymError):
    """A network cannot be exported, or the exported model computes other outputs."""


class Stopped(KeyboardInterrupt):
    """A run was stopped, after it saved what it had; the message says how to continue."""


class UnknownNameError(PruneGymError, ValueError):
    """A name is not registered.

    Args:
        kind: Kind of object, for example ``"network"``.
        name: The unknown name.
        known: The registered names.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = sorted(known)
        close = get_close_matches(str(name)[:SHOWN], known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"Unknown {kind} {shown(name)}.{hint} Known: {', '.join(known)}.")
