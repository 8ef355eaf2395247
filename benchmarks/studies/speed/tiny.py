"""The smallest environment: a two-layer network on noise; a step takes one or two ms."""

import numpy as np
import torch
from torch import Tensor, nn

from prune_gym.data import Dataset, Split
from prune_gym.envs import PruningEnv
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace


class TinyNet(nn.Module):
    """Two convolutions with batch norm, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 2)."""
        x = self.norm1(self.first(x)).relu()
        x = self.norm2(self.second(x)).relu()
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def tiny_env(seed: int = 0) -> PruningEnv:
    """An environment on the tiny network, untrained, and 96 images of noise."""
    torch.manual_seed(seed)
    spaces = (
        ChannelSpace("one", 8, ("first",), ("second",), ("norm1",)),
        ChannelSpace("two", 8, ("second",), ("head",), ("norm2",)),
    )
    network = Network("benchmarks:tiny", TinyNet().eval(), spaces, (3, 8, 8), 2)
    rng = np.random.default_rng(seed)

    def split(images: int) -> Split:
        pixels = rng.integers(0, 256, (images, 3, 8, 8), dtype=np.uint8)
        return Split(torch.from_numpy(pixels), torch.arange(images) % 2)

    dataset = Dataset("noise", "noise", "0" * 64, ("a", "b"), split(32), split(32), split(32))
    return PruningEnv(network, dataset, threads=1, eval_images=32, repair_images=16, batch_size=16)
