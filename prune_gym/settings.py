"""``NAME=VALUE`` settings, read as YAML."""

from collections.abc import Iterable
from typing import Any

import yaml

from prune_gym.errors import PruneGymError, UnknownNameError


def parse_settings(
    pairs: Iterable[str], what: str, known: Iterable[str] | None = None
) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs; the values are YAML, and dashes in names become underscores.

    Args:
        pairs: Words of the command line.
        what: Kind of the setting, for the errors.
        known: Names that are allowed; any by default.

    Raises:
        PruneGymError: If a pair has no ``=`` or its value is not YAML.
        UnknownNameError: If a name is not allowed.
    """
    names = None if known is None else list(known)
    result: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise PruneGymError(f"{what} {pair!r} must be NAME=VALUE, for example {name}=0.5")
        if names is not None and name not in names:
            raise UnknownNameError(what, name, names)
        try:
            result[name] = _number(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise PruneGymError(f"{pair!r}: the value is not readable ({error})") from error
    return result


def _number(value: Any) -> Any:
    """YAML 1.1 reads ``1e-3`` as a word; here it is a number, and ``1e9`` a whole one."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number
