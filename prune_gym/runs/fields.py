"""Values of a JSON object, each checked for its kind and range."""

import json
from collections.abc import Mapping
from typing import Any

from prune_gym.errors import PruneGymError

LARGEST = 1e30
"""No value of a run comes near it."""
_SHOWN = 40


class Fields:
    """The fields of a JSON object.

    Args:
        value: Value that was read from the file.
        where: File and line, for the errors.
        inside: Name of the object within the file, with a dot at its end.

    Raises:
        PruneGymError: If the value is not an object, or (from the methods) if a field is missing,
            of another kind or out of range.
    """

    def __init__(self, value: object, where: str, inside: str = "") -> None:
        self.where, self.inside = where, inside
        if not isinstance(value, Mapping):
            self.inside = ""
            raise self._error(inside.removesuffix(".") or "it", value, "a table of names")
        self.values: Mapping[str, Any] = value

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def any(self, name: str) -> Any:
        """A field of any kind."""
        if name not in self.values:
            raise PruneGymError(
                f"{self.where} has no {self.inside}{name}: another version wrote it, or it was "
                "edited. Make it again, or leave it out."
            )
        return self.values[name]

    def text(self, name: str) -> str:
        """A string."""
        value = self.any(name)
        if not isinstance(value, str):
            raise self._error(name, value, "a text")
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.any(name)
        if not isinstance(value, bool):
            raise self._error(name, value, "true or false")
        return value

    def number(self, name: str, least: float = 0.0, most: float = LARGEST) -> float:
        """A number within a range."""
        value = self.any(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error(name, value, "a number")
        if not least <= value <= most:
            raise self._error(name, value, f"a number from {least:g} to {most:g}")
        return float(value)

    def share(self, name: str) -> float:
        """A number from 0 to 1."""
        return self.number(name, most=1.0)

    def positive(self, name: str) -> float:
        """A number above 0."""
        value = self.number(name)
        if value == 0:
            raise self._error(name, value, "a number above 0")
        return value

    def count(self, name: str, least: int = 0) -> int:
        """A whole number."""
        value = self.any(name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST:
            raise self._error(name, value, f"a whole number of at least {least}")
        return value

    def seed(self, name: str) -> int:
        """A whole number of 63 bits."""
        value = self.count(name)
        if value >= 2**63:
            raise self._error(name, value, "a seed below 2**63")
        return value

    def counts(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        value = self.any(name)
        if not isinstance(value, list):
            raise self._error(name, value, "a list of whole numbers")
        inner = Fields(dict(enumerate(value)), self.where, f"{self.inside}{name}.")
        return tuple(inner.count(place) for place in inner.values)

    def table(self, name: str) -> "Fields":
        """An object."""
        return Fields(self.any(name), self.where, f"{self.inside}{name}.")

    def tables(self, name: str) -> list["Fields"]:
        """A list of objects."""
        value = self.any(name)
        if not isinstance(value, list):
            raise self._error(name, value, "a list of tables")
        return [
            Fields(each, self.where, f"{self.inside}{name}.{place}.")
            for place, each in enumerate(value)
        ]

    def texts(self, name: str) -> dict[str, str]:
        """An object of strings."""
        inner = self.table(name)
        return {key: inner.text(key) for key in inner.values}

    def _error(self, name: object, value: object, wanted: str) -> PruneGymError:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
        return PruneGymError(
            f"{self.where}: {self.inside if name != 'it' else ''}{name}={shown} must be {wanted}: "
            "another version wrote it, or it was edited. Make it again, or leave it out."
        )


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; NaN and infinity are refused.

    Args:
        text: Text of a file or line.
        where: File and line, for the error.

    Raises:
        PruneGymError: If the text is damaged.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise PruneGymError(f"{where} is damaged ({error}).") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not allowed")
