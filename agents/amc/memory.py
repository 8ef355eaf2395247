"""The transitions that AMC learns from."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prune_gym.errors import WeightsError

Array = npt.NDArray[np.float32]
FIELDS = ("states", "actions", "rewards", "following", "ended")


class Memory:
    """The last transitions, oldest overwritten first.

    Args:
        capacity: How many.
        state: Entries of a state.
    """

    def __init__(self, capacity: int, state: int) -> None:
        sizes = dict.fromkeys(FIELDS, 1) | {"states": state, "following": state}
        self.arrays = {name: np.zeros((capacity, sizes[name]), np.float32) for name in FIELDS}
        self.capacity, self.added = capacity, 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, *values: Array | float) -> None:
        """One transition, in the order of ``FIELDS``."""
        for name, value in zip(FIELDS, values, strict=True):
            self.arrays[name][self.added % self.capacity] = value
        self.added += 1

    def sample(self, count: int, random: np.random.Generator) -> dict[str, Tensor]:
        """Transitions drawn with replacement, each shape (count, ...)."""
        chosen = random.integers(len(self), size=count)
        return {name: torch.from_numpy(array[chosen]) for name, array in self.arrays.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Copies of what is remembered, by the names of ``FIELDS``."""
        return {n: torch.from_numpy(array[: len(self)].copy()) for n, array in self.arrays.items()}

    def set_tensors(self, tensors: Mapping[str, Tensor], added: int) -> None:
        """Put back what :meth:`tensors` gave.

        Args:
            tensors: By name.
            added: How many transitions were ever added.

        Raises:
            WeightsError: They are of a memory of another shape.
        """
        self.added = added
        for name, array in self.arrays.items():
            shape = (len(self), array.shape[1])
            if name not in tensors or tuple(tensors[name].shape) != shape:
                raise WeightsError(f"The saved memory's {name!r} does not fit; needed: {shape}.")
            array[: len(self)] = tensors[name].numpy()
