"""Checks of hyperparameters; an option whose default is None may be None."""

from collections.abc import Iterator
from typing import Any


def whole(options: Any, *names: str, least: int = 1) -> None:
    """Raise a ValueError unless the options ``names`` are whole numbers of at least ``least``."""
    for name, value in _given(options, names):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name}={value!r} must be a whole number, at least {least}")


def positive(options: Any, *names: str) -> None:
    """Raise a ValueError unless the options ``names`` are finite numbers above 0."""
    for name, value in _given(options, names):
        if isinstance(value, str | bool) or not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} must be a finite number above 0")


def share(options: Any, *names: str) -> None:
    """Raise a ValueError unless the options ``names`` are within [0, 1]."""
    for name, value in _given(options, names):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}={value} is not within [0, 1]")


def between(options: Any, *names: str) -> None:
    """Raise a ValueError unless the options ``names`` are above 0 and below 1."""
    for name, value in _given(options, names):
        if not 0 < value < 1:
            raise ValueError(f"{name}={value} must lie between 0 and 1")


def _given(options: Any, names: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name in names:
        value = getattr(options, name)
        if value is not None or getattr(type(options), name, 0) is not None:
            yield name, value
