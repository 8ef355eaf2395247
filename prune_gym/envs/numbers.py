"""Numbers that a caller gives as part of an action, whatever type they have."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from prune_gym.errors import shown


def as_numbers(name: str, given: object) -> npt.NDArray[Any]:
    """Numbers of an action as an array of bool, integers or floats.

    Args:
        name: What the numbers are, for the error.
        given: Numbers, arrays or tensors; tensors of any device, also with gradients.

    Raises:
        ValueError: If it is anything else, such as a dictionary, complex numbers, an integer of
            more than 64 bits, or an array with masked entries; the message has shape and type.
    """
    try:
        if isinstance(given, torch.Tensor):
            value = given.detach().cpu()
            # NumPy has no bfloat16.
            number = (value.double() if value.is_floating_point() else value).numpy()
        elif isinstance(given, np.ma.MaskedArray):
            raise TypeError("masked entries have no value")
        elif isinstance(given, np.ndarray):
            number = given
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # of masked entries in a list, for example
                number = np.asarray(given)
    except (TypeError, ValueError, RuntimeError, OverflowError, Warning):
        number = np.asarray(None)
    if number.dtype.kind not in "biuf":
        kind = type(given).__name__
        about = "".join(
            f" of {fact} {getattr(given, fact)}"
            for fact in ("shape", "dtype")
            if isinstance(given, np.ndarray | torch.Tensor)
        )
        raise ValueError(f"action: {name}={shown(given)} is a {kind}{about}; give real numbers")
    return number


def flat_numbers(given: object, shape: tuple[int, ...] | None) -> npt.NDArray[Any]:
    """Numbers of an action whose space has a shape.

    Raises:
        ValueError: If they are no numbers, see :func:`as_numbers`, or of another shape.
    """
    number = as_numbers("action", given)
    if number.shape != shape:
        raise ValueError(f"the action has shape {number.shape} but must have {shape}")
    return number
