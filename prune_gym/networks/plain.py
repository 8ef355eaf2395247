"""Plain-20: ResNet-20 without shortcuts (He et al. 2016, CVPR, section 4.2)."""

from torch import Tensor, nn

from prune_gym.networks.resnet import WIDTHS, conv3x3, initialise
from prune_gym.pruning import ChannelSpace


class PlainNet(nn.Module):
    """A sequence of 3 x 3 convolutions with batch norm and ReLU, then a dense layer.

    Raises:
        ValueError: If ``depth``, the number of layers, is not 6 n + 2; the papers use 20.
    """

    def __init__(self, depth: int, num_classes: int = 10) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth={depth} must be 6 n + 2 with n >= 1, for example 20")
        self.convs, self.norms = nn.ModuleList(), nn.ModuleList()
        before = 3
        for index, width in enumerate(plain_widths(depth)):
            stride = 2 if index and width != before else 1
            self.convs.append(conv3x3(before, width, stride))
            self.norms.append(nn.BatchNorm2d(width))
            before = width
        self.linear = nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to logits (N, num_classes)."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = norm(conv(x)).relu()
        return self.linear(x.mean(dim=(2, 3)))


def plain_widths(depth: int) -> list[int]:
    """Channels of the convolutions, from input to output."""
    blocks = (depth - 2) // 6
    return [WIDTHS[0]] + [width for width in WIDTHS for _ in range(2 * blocks)]


def plain_spaces(depth: int) -> tuple[ChannelSpace, ...]:
    """Channel spaces of :class:`PlainNet`: one per convolution."""
    widths = plain_widths(depth)
    consumers = [f"convs.{index}" for index in range(1, len(widths))] + ["linear"]
    return tuple(
        ChannelSpace(f"conv{index}", width, (f"convs.{index}",), (consumer,), (f"norms.{index}",))
        for index, (width, consumer) in enumerate(zip(widths, consumers, strict=True))
    )
