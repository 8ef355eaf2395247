"""What became of the masks during a training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prune_gym.alf.convert import blocks


class History:
    """Mask entries of all blocks at some moments of a training, on the CPU.

    Attributes:
        masks: For each block its mask at each moment, shape (Co,).
    """

    def __init__(self) -> None:
        self.masks: dict[str, list[Tensor]] = {}

    def note(self, module: nn.Module) -> None:
        """Add the masks as they are now."""
        for name, block in blocks(module).items():
            clipped = block.mask.detach().cpu() * block.alive()
            self.masks.setdefault(name, []).append(clipped)

    def __len__(self) -> int:
        """How many moments there are."""
        return max(map(len, self.masks.values()), default=0)

    def tensors(self) -> dict[str, Tensor]:
        """For each block an array of shape (moments, Co)."""
        return {name: torch.stack(values) for name, values in self.masks.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "History":
        """A history from its :meth:`tensors`."""
        history = cls()
        history.masks = {name: list(values.unbind()) for name, values in tensors.items()}
        return history
