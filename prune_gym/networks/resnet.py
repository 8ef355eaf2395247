"""The CIFAR ResNets of He et al. 2016 (CVPR, section 4.2) and their channel spaces."""

from torch import Tensor, nn

from prune_gym.pruning import ChannelPad, ChannelSpace

WIDTHS = (16, 32, 64)


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3 x 3 convolution with padding 1; it has no bias because a batch norm follows."""
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def initialise(network: nn.Module) -> None:
    """Initialise all convolutions and dense layers (He et al. 2015, equation 10)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions in parallel with a shortcut.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        stride: Stride of the first convolution.
        option: Shortcut of a block that changes the shape: ``"A"`` (subsample and pad with zeros)
            or ``"B"`` (1 x 1 convolution).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, option: str) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module
        if in_channels == out_channels and stride == 1:
            self.shortcut = nn.Identity()
        elif option == "A":
            self.shortcut = ChannelPad(in_channels, out_channels, stride)
        else:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H/stride, W/stride)."""
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        return (y + self.shortcut(x)).relu()


class ResNet(nn.Module):
    """A CIFAR ResNet with three stages.

    Args:
        depth: Number of layers, 6 n + 2; the papers use 20 and 56.
        num_classes: Number of classes.
        option: Kind of shortcut, ``"A"`` or ``"B"``.

    Raises:
        ValueError: If ``depth`` is not 6 n + 2, or ``option`` is unknown.
    """

    def __init__(self, depth: int, num_classes: int = 10, option: str = "A") -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth={depth} must be 6 n + 2 with n >= 1, for example 20")
        if option not in ("A", "B"):
            raise ValueError(f"option={option!r} must be 'A' or 'B'")
        self.conv1 = conv3x3(3, WIDTHS[0])
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        before = WIDTHS[0]
        stages = []
        for stage, width in enumerate(WIDTHS):
            blocks = []
            for block in range((depth - 2) // 6):
                stride = 2 if stage and not block else 1
                blocks.append(BasicBlock(before, width, stride, option))
                before = width
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to logits (N, num_classes)."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


def resnet_spaces(depth: int, option: str) -> tuple[ChannelSpace, ...]:
    """Channel spaces of :class:`ResNet`: one inner space per block and one trunk per stage.

    ResNet-20 has 9 inner and 3 trunk spaces with 448 channels in total. The order is the trunk of
    each stage, followed by the stage's blocks, from input to output.
    """
    blocks = (depth - 2) // 6
    spaces: list[ChannelSpace] = []
    for stage, width in enumerate(WIDTHS):
        names = [f"layer{stage + 1}.{block}" for block in range(blocks)]
        spaces.append(_trunk(stage, width, names, option))
        for name in names:
            conv, norm, consumer = f"{name}.conv1", f"{name}.bn1", f"{name}.conv2"
            spaces.append(ChannelSpace(name, width, (conv,), (consumer,), (norm,)))
    return tuple(spaces)


def _trunk(stage: int, width: int, blocks: list[str], option: str) -> ChannelSpace:
    """The space of a stage's residual additions."""
    producers = [f"{name}.conv2" for name in blocks]
    followers = [f"{name}.bn2" for name in blocks]
    # The first block of a later stage reads the previous trunk.
    consumers = [f"{name}.conv1" for name in (blocks[1:] if stage else blocks)]
    shortcut = "shortcut" if option == "A" else "shortcut.0"
    if stage == 0:
        producers.insert(0, "conv1")
        followers.insert(0, "bn1")
    else:
        producers.insert(0, f"layer{stage + 1}.0.{shortcut}")
        if option == "B":
            followers.insert(0, f"layer{stage + 1}.0.shortcut.1")
    if stage < len(WIDTHS) - 1:
        following = f"layer{stage + 2}.0"
        consumers += [f"{following}.conv1", f"{following}.{shortcut}"]
    else:
        consumers.append("linear")
    return ChannelSpace(
        f"trunk{stage + 1}", width, tuple(producers), tuple(consumers), tuple(followers)
    )
