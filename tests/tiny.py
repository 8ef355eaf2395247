"""Small networks and data for fast tests."""

import numpy as np
import torch
from torch import nn

from prune_gym.data import Dataset, Split
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace


class TinyNet(nn.Module):
    """A network with a bias, a depthwise convolution, a PReLU, a sigmoid and a flatten."""

    def __init__(self, num_classes: int = 4, image_size: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, padding=1, bias=True)
        self.slope = nn.PReLU(6)
        self.depthwise = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, 5, 1)
        self.head = nn.Linear(5 * (image_size // 2) ** 2, num_classes)

    def forward(self, x):
        x = self.slope(self.first(x))
        x = self.norm(self.depthwise(x)).sigmoid()
        x = self.second(x).relu()
        return self.head(x.flatten(1))


def tiny_network(num_classes: int = 4, image_size: int = 8) -> Network:
    """A custom network; 'tests.tiny:tiny_network' builds it by name."""
    spaces = (
        ChannelSpace("one", 6, ("first",), ("second",), ("slope", "depthwise", "norm")),
        ChannelSpace("two", 5, ("second",), ("head",)),
    )
    module = TinyNet(num_classes, image_size)
    shape = (3, image_size, image_size)
    return Network("tests.tiny:tiny_network", module, spaces, shape, num_classes)


class TinyResidual(nn.Module):
    """A network with a tied trunk, an inner space, and a strided convolution with a bias."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(8)
        self.inner = nn.Conv2d(8, 12, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(12)
        self.outer = nn.Conv2d(12, 8, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(8)
        self.down = nn.Conv2d(8, 10, 3, stride=2, padding=1)
        self.norm3 = nn.BatchNorm2d(10)
        self.head = nn.Linear(10, num_classes)

    def forward(self, x):
        x = self.norm0(self.stem(x)).relu()
        y = self.norm1(self.inner(x)).relu()
        x = (x + self.norm2(self.outer(y))).relu()
        x = self.norm3(self.down(x)).relu()
        return self.head(x.mean(dim=(2, 3)))


def tiny_residual(num_classes: int = 4, image_size: int = 8) -> Network:
    """A residual network; 'tests.tiny:tiny_residual' builds it by name."""
    spaces = (
        ChannelSpace("trunk", 8, ("stem", "outer"), ("inner", "down"), ("norm0", "norm2")),
        ChannelSpace("mid", 12, ("inner",), ("outer",), ("norm1",)),
        ChannelSpace("last", 10, ("down",), ("head",), ("norm3",)),
    )
    shape = (3, image_size, image_size)
    name = "tests.tiny:tiny_residual"
    return Network(name, TinyResidual(num_classes), spaces, shape, num_classes)


def shake(module: nn.Module, seed: int = 0) -> nn.Module:
    """Set all weights and statistics to random values, so that zeros do not hide errors."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if not tensor.is_floating_point():
            continue
        if name.endswith("running_var"):
            tensor.data.uniform_(0.5, 2, generator=generator)
        elif tensor.dim() <= 1:
            tensor.data.normal_(generator=generator)
        else:
            tensor.data.normal_(std=tensor[0].numel() ** -0.5, generator=generator)
    return module.eval()


def tiny_dataset(classes: int = 4, size: int = 8, train: int = 256, seed: int = 0) -> Dataset:
    """Noisy images of one colour per class; a network learns them in seconds, but not perfectly."""
    rng = np.random.default_rng(seed)
    colours = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200], [150, 150, 30]])

    def split(images: int) -> Split:
        labels = np.arange(images) % classes
        pixels = colours[labels][:, :, None, None] + rng.normal(0, 60, (images, 3, size, size))
        clipped = np.clip(pixels, 0, 255).astype(np.uint8)
        return Split(torch.from_numpy(clipped), torch.from_numpy(labels))

    names = tuple(f"class{index}" for index in range(classes))
    return Dataset("tiny", "tiny", "0" * 64, names, split(train), split(64), split(64))
