"""VGG-16 with batch norm, in the form that is used for CIFAR images."""

from torch import Tensor, nn

from prune_gym.networks.resnet import initialise

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions between max pools (Simonyan and Zisserman 2015, configuration D)."""


class VGG16(nn.Module):
    """13 convolutions with batch norm in five stages, and three dense layers of 512 units.

    The dense part is that of chengyangfu/pytorch-vgg-cifar10. With 10 classes and images of 32
    pixels, the network has 15.25 M parameters and takes 313.7 M MACs.

    Args:
        num_classes: Number of classes.
        width: Factor of all numbers of channels and units.
        dropout: Share of the units that dropout removes in training.
        image_size: Height and width of the images.

    Raises:
        ValueError: If the width leaves a layer without channels, or the images are smaller than the
            32 pixels that five max pools need.
    """

    def __init__(
        self,
        num_classes: int = 10,
        width: float = 1.0,
        image_size: int = 32,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if int(STAGES[0][0] * width) < 1:
            raise ValueError(f"width={width} must be at least 1/64")
        if image_size < 32:
            raise ValueError(f"image_size={image_size} must be at least 32")
        layers: list[nn.Module] = []
        before = 3
        for stage in STAGES:
            for size in stage:
                channels = int(size * width)
                layers += [
                    nn.Conv2d(before, channels, 3, padding=1),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                ]
                before = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        units = int(512 * width)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(before * (image_size // 32) ** 2, units),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(units, units),
            nn.ReLU(),
            nn.Linear(units, num_classes),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map normalised images (N, 3, H, W) to logits (N, num_classes)."""
        return self.classifier(self.features(x).flatten(1))
