"""Typed contents of JSON files: dataclasses that are written whole and checked when read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import Meta

from prune_gym.errors import PruneGymError

MOST_BYTES = 1 << 26
"""Largest JSON file that is read."""
MOST_LINES = 1 << 30
"""Largest file of JSON lines that is read."""
LARGEST = 1e30
"""Bound of all numbers; no value of a run comes near it."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""A number from 0 to 1."""
Amount = Annotated[float, Meta(ge=0, le=LARGEST)]
"""A number of at least 0."""
Positive = Annotated[float, Meta(gt=0, le=LARGEST)]
"""A number above 0."""
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A whole number of at least 0, of 63 bits; seeds are such numbers."""
Whole = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""A whole number of at least 1, of 63 bits."""
SHOWN = 40
"""Characters of a bad value that an error shows."""
RecordT = TypeVar("RecordT", bound="JsonRecord")


class JsonRecord:
    """Base of the dataclasses that are the contents of JSON files.

    Attributes:
        SCHEMA: Version of the file's format, written as ``schema``; None: the file has none.
        PARTIAL: Whether the file may have more fields than the record.
    """

    SCHEMA: ClassVar[int | None] = None
    PARTIAL: ClassVar[bool] = False

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the record."""
        value: dict[str, Any] = msgspec.to_builtins(self)
        return value if self.SCHEMA is None else {"schema": self.SCHEMA, **value}

    @classmethod
    def from_json(cls: type[RecordT], value: object, where: str) -> RecordT:
        """Read :meth:`to_json`.

        Args:
            value: JSON object.
            where: File and line, for errors.

        Raises:
            PruneGymError: If a value is missing, of the wrong kind or out of range, or the record
                is of another schema.
        """
        if cls.SCHEMA is not None:
            check_schema(value, cls.SCHEMA, where)
        try:
            record = msgspec.convert(value, cls)
        except PruneGymError as error:
            raise PruneGymError(f"{where}: {error}") from error
        except msgspec.ValidationError as error:
            raise PruneGymError(
                f"{where}: {described(error, value)}: another version wrote it, or it was edited. "
                "Make it again, or leave it out."
            ) from error
        unknown = None if cls.PARTIAL else _unknown(value, msgspec.to_builtins(record))
        if unknown is not None:
            raise PruneGymError(
                f"{where}: unknown field {unknown!r}: it was edited, or written by another "
                "version. Remove the field, or make the file again."
            )
        return record


def _unknown(value: Any, known: Any, path: str = "") -> str | None:
    """The first field of a JSON value that is not in the record made of it; None without one."""
    pairs: list[tuple[str, Any, Any]] = []
    if isinstance(value, list):
        both = enumerate(zip(value, known, strict=True))
        pairs = [(f"{path}[{place}]", *pair) for place, pair in both]
    elif isinstance(value, Mapping):
        for name, own in value.items():
            if name not in known and name != "schema":
                return f"{path}.{name}".lstrip(".")
            pairs.append((f"{path}.{name}", own, known.get(name)))
    nested = (_unknown(own, other, where) for where, own, other in pairs if other is not None)
    return next((name for name in nested if name is not None), None)


def described(error: Exception, value: Any) -> str:
    """An error of msgspec with the bad value: ``steps[0].accuracy=2 (expected ...)``."""
    if not isinstance(error, msgspec.ValidationError):
        return str(error)
    told, _, path = str(error).partition(" - at `$")
    path = path.rstrip("`").lstrip(".")
    for key in re.findall(r"[^.\[\]]+", path):
        value = value[int(key)] if isinstance(value, list) else value.get(key, value)
    missing = re.search(r"missing required field `(\w+)`", told)
    if missing:
        return f"{path}.{missing[1]}".lstrip(".") + " is missing"
    shown = repr(value)
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}..."
    place = f"{path}={shown}" if path else shown
    return f"{place} ({told[0].lower()}{told[1:]})"


def check_schema(value: object, schema: int, where: str) -> None:
    """Refuse a value that is not a JSON object, or whose schema is missing or another one."""
    if not isinstance(value, Mapping):
        raise PruneGymError(f"{where} holds no JSON object. Make it again, or leave it out.")
    if value.get("schema") != schema:
        raise PruneGymError(
            f"{where} is of schema {value.get('schema')!r}, not {schema}: another version of "
            "prune_gym wrote it. Use that version, or run it again."
        )


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; PruneGymError names the file and line of damage, NaN and infinity included."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise PruneGymError(f"{where} is damaged ({error}).") from error


def read_json(path: Path) -> tuple[Any, str]:
    """Read a JSON file.

    Returns:
        Its content, and the path as errors show it; :meth:`JsonRecord.from_json` takes both.

    Raises:
        PruneGymError: If the file is damaged.
    """
    where = repr(str(path))
    check_size(path, MOST_BYTES)
    return parse_json(path.read_bytes(), where), where


def check_size(path: Path, most: int) -> None:
    """Refuse a file that is larger than any that this project writes, before it is read."""
    size = path.stat().st_size
    if size > most:
        raise PruneGymError(
            f"{str(path)!r} has {size >> 20:,} MiB; files of its kind have at most "
            f"{most >> 20:,} MiB."
        )


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not allowed")
