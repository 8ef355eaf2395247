"""An agent's own random numbers, where a library draws from the process's global generators."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class Randomness:
    """Lends an agent the global generators of torch, NumPy and Python, and keeps their states.

    So the same seed gives the same policy, whatever else draws numbers in the process, and the
    process's own numbers stay what they would have been.

    Args:
        seed: Where they begin.
    """

    def __init__(self, seed: int) -> None:
        before = _get()
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - the library draws from this one
        random.seed(seed)
        self._states = _get()
        _set(before)
        self._lent = False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Within it, the global generators are the agent's."""
        if self._lent:
            yield
            return
        before = _get()
        _set(self._states)
        self._lent = True
        try:
            yield
        finally:
            self._lent = False
            self._states = _get()
            _set(before)

    def state(self) -> dict[str, torch.Tensor]:
        """The states of torch and NumPy, which algorithms draw from."""
        now = _get() if self._lent else self._states
        own, (_, keys, position, has_gauss, gauss), _ = now
        rest = torch.tensor([position, has_gauss, gauss], dtype=torch.float64)
        return {"torch": own, "numpy": torch.from_numpy(keys.astype(np.int64)), "rest": rest}

    def set_state(self, state: dict[str, torch.Tensor]) -> None:
        """Put back what :meth:`state` gave."""
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
