"""ResNet-18 with a stem for CIFAR images."""

from torch import Tensor, nn

from prune_gym.networks.resnet import BasicBlock, conv3x3, initialise


class ResNet18(nn.Module):
    """Four stages of two basic blocks (He et al. 2016, CVPR, table 1).

    The stem is one 3 x 3 convolution without stride or max pool, as usual for images of 32 pixels.
    Shortcuts that change the shape are 1 x 1 convolutions. With 10 classes and images of 32 pixels,
    the network has 11.17 M parameters and takes 555.4 M MACs.

    Args:
        num_classes: Number of classes.
        width: Channels of the first stage; each later one has twice as many.
    """

    def __init__(self, num_classes: int = 10, width: int = 64) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, width)
        self.bn1 = nn.BatchNorm2d(width)
        before, stages = width, []
        for stage in range(4):
            channels = width * 2**stage
            stages.append(
                nn.Sequential(
                    BasicBlock(before, channels, 2 if stage else 1, "B"),
                    BasicBlock(channels, channels, 1, "B"),
                )
            )
            before = channels
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.linear = nn.Linear(before, num_classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to logits (N, num_classes)."""
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.linear(x.mean(dim=(2, 3)))
