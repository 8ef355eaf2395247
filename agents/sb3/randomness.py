"""An agent's own random numbers, for a library that draws from the process's generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Randomness:
    """Gives an agent its own states of the global generators of torch, NumPy and Python.

    So the same seed gives the same policy, whatever else draws numbers in the process, and the
    agent does not change the numbers that the rest of the process draws.

    Args:
        seed: Seed of the generators.
    """

    def __init__(self, seed: int) -> None:
        before = _get()
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the library draws from this one
        random.seed(seed)
        self._states = _get()
        _set(before)
        self._active = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Set the global generators to the agent's states inside a ``with`` block."""
        if self._active:
            yield
            return
        before = _get()
        _set(self._states)
        self._active = True
        try:
            yield
        finally:
            self._active = False
            self._states = _get()
            _set(before)

    def state(self) -> dict[str, torch.Tensor]:
        """Return the states of torch and NumPy, from which algorithms draw."""
        now = _get() if self._active else self._states
        own, (_, keys, position, has_gauss, gauss), _ = now
        rest = torch.tensor([position, has_gauss, gauss], dtype=torch.float64)
        return {"torch": own, "numpy": torch.from_numpy(keys.astype(np.int64)), "rest": rest}

    def set_state(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what :meth:`state` returned."""
        position, has_gauss, gauss = state["rest"].tolist()
        keys = state["numpy"].numpy().astype(np.uint32)
        numpy_state = ("MT19937", keys, int(position), int(has_gauss), gauss)
        self._states = (state["torch"], numpy_state, random.getstate())


def _get() -> tuple[Any, ...]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002


def _set(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])
