"""The errors that users see: each names the bad value and the remedy."""

from collections.abc import Iterable
from difflib import get_close_matches


class PruneGymError(Exception):
    """Base of the project's own errors; the command line prints them without a traceback."""


class DataError(PruneGymError):
    """A data set is missing, empty or unreadable."""


class WeightsError(PruneGymError):
    """Weights are missing, damaged, or do not fit the network."""


class TargetError(PruneGymError):
    """A target that no network within reach meets."""


class ExportError(PruneGymError):
    """An exported model does not agree with the network that it was made from."""


class UnknownNameError(PruneGymError, ValueError):
    """A name that is not in a registry.

    Args:
        kind: What was looked up, for example ``"network"``.
        name: The name that was not found.
        known: The names that exist.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = sorted(known)
        close = get_close_matches(str(name), known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known)}.")
