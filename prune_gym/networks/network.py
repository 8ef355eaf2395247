"""A network and what belongs to it."""

from dataclasses import dataclass

from torch import nn

from prune_gym.data import Normalization
from prune_gym.pruning import ChannelSpace


@dataclass(frozen=True)
class Network:
    """A network with its channel spaces.

    Args:
        architecture: Name by which :func:`prune_gym.networks.build` builds the network again.
        module: Module that maps normalised images (N, C, H, W) to logits (N, num_classes).
        spaces: Channel spaces, from input to output.
        input_shape: Channels, height and width of an image.
        num_classes: Number of classes.
        normalization: Normalisation with which the network was trained; None for
            :meth:`Normalization.default`.

    Raises:
        ValueError: If the normalisation is for images with another number of channels.
    """

    architecture: str
    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    input_shape: tuple[int, int, int] = (3, 32, 32)
    num_classes: int = 10
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        channels = self.input_shape[0]
        if self.normalize.channels != channels:
            raise ValueError(
                f"{self.architecture}: the images have {channels} channels, but the normalization "
                f"has {self.normalize.channels} values; give one mean and std for each channel"
            )

    @property
    def normalize(self) -> Normalization:
        """The normalisation in use: pixels to the input of the module."""
        return self.normalization or Normalization.default(self.input_shape[0])
