"""History of the ALF masks during a training."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from prune_gym.alf.convert import blocks


class History:
    """Mask entries of all blocks at several times of a training, on the CPU.

    Attributes:
        masks: Masks of each block, one per time, each of shape (Co,).
    """

    def __init__(self) -> None:
        self.masks: dict[str, list[Tensor]] = {}

    def note(self, module: nn.Module) -> None:
        """Add the current masks."""
        for name, block in blocks(module).items():
            clipped = block.mask.detach().cpu() * block.alive()
            self.masks.setdefault(name, []).append(clipped)

    def __len__(self) -> int:
        """Number of recorded times."""
        return max(map(len, self.masks.values()), default=0)

    def tensors(self) -> dict[str, Tensor]:
        """Masks of each block as a tensor of shape (times, Co)."""
        return {name: torch.stack(values) for name, values in self.masks.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "History":
        """Make a history from the result of :meth:`tensors`."""
        history = cls()
        history.masks = {name: list(values.unbind()) for name, values in tensors.items()}
        return history
