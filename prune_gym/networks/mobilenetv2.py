"""MobileNetV2 in the form that is used for CIFAR images."""

from torch import Tensor, nn

from prune_gym.networks.resnet import initialise

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of each stage (Sandler et al. 2018, table 2). As usual for
images of 32 pixels, the first convolution and the second stage have no stride."""


class InvertedResidual(nn.Module):
    """A 1 x 1 expansion, a depthwise 3 x 3 convolution and a linear 1 x 1 projection.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        stride: Stride of the depthwise convolution.
        expansion: Channels between the convolutions for each input channel; 1: no expansion.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers = [] if expansion == 1 else conv_norm(in_channels, hidden, 1)
        layers += conv_norm(hidden, hidden, 3, stride, groups=hidden)
        layers += conv_norm(hidden, out_channels, 1)[:-1]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        y = self.layers(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """MobileNetV2 (Sandler et al. 2018) for small images.

    With 10 classes and images of 32 pixels, the network has 2.24 M parameters and takes 87.98 M
    MACs at width 1.

    Args:
        num_classes: Number of classes.
        width: Factor of all numbers of channels but the last convolution's, which does not shrink
            below 1,280 in the paper; here it is scaled, too, so that small networks stay small
            (this project's choice). Numbers of channels are rounded to multiples of 8.
    """

    def __init__(self, num_classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        before = multiple_of_8(32 * width)
        layers = conv_norm(3, before, 3)
        for expansion, channels, blocks, first_stride in STAGES:
            size = multiple_of_8(channels * width)
            for block in range(blocks):
                stride = 1 if block else first_stride
                layers.append(InvertedResidual(before, size, stride, expansion))
                before = size
        last = multiple_of_8(1280 * width)
        layers += conv_norm(before, last, 1)
        self.features = nn.Sequential(*layers)
        self.linear = nn.Linear(last, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to logits (N, num_classes)."""
        return self.linear(self.features(x).mean(dim=(2, 3)))


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size of the map at stride 1, batch norm and ReLU6."""
    return [
        nn.Conv2d(
            in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(),
    ]


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8 that is at least 8 and at least 90 % of a number.

    The rule is that of the paper's reference code (``_make_divisible``).
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
