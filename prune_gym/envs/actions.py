"""Actions as a step takes them, checked by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Action = Mapping[str, npt.NDArray]


def checked_action(action: Action, width: int) -> tuple[npt.NDArray[np.bool_], float]:
    """Mask and duration of an action of the filter mode.

    Args:
        action: ``mask`` and ``duration``.
        width: n_max.

    Returns:
        The mask, boolean, shape (n_max,), and the duration, 0 to 1.

    Raises:
        ValueError: Another form or shape, not finite, or out of range.
    """
    _check_entries(action, "mask", "duration")
    mask = np.asarray(action["mask"])
    if mask.shape != (width,):
        raise ValueError(
            f"the mask has shape {mask.shape}, needed: ({width},); "
            "layers with fewer filters are padded"
        )
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("the mask may hold only 0 and 1; threshold scores before step()")
    return mask.astype(bool), _checked_duration(action)


def checked_alf_action(action: Action) -> tuple[float, float]:
    """Sparsity and duration of an action of the ALF mode.

    Args:
        action: ``sparsity`` and ``duration``.

    Returns:
        Both, 0 to 1.

    Raises:
        ValueError: Another form or shape, not finite, or out of range.
    """
    _check_entries(action, "sparsity", "duration")
    sparsity = _checked_share("sparsity", action["sparsity"], "the share of codes to remove")
    # As the action space's own type has it, so that records replay to the bit.
    return float(np.float32(sparsity)), _checked_duration(action)


def _check_entries(action: Action, *names: str) -> None:
    if not isinstance(action, Mapping) or set(action) != set(names):
        raise ValueError(f"an action is a dict of {names[0]!r} and {names[1]!r}, not {action!r}")


def _checked_duration(action: Action) -> float:
    return _checked_share("duration", action["duration"], "of max_epochs")


def _checked_share(name: str, given: Any, of: str) -> float:
    number = np.asarray(given, dtype=np.float64)
    if number.size != 1 or not np.isfinite(number).all():
        raise ValueError(f"the {name} is {given!r}, needed: one finite number")
    value = float(number.reshape(()))
    if not 0 <= value <= 1:
        raise ValueError(f"the {name} is {value}, needed: 0 to 1 ({of})")
    return value
