"""Normalisation of images; it belongs to the network, which was trained with it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalization:
    """Mean and standard deviation of each channel, of pixels in [0, 1].

    Args:
        mean: Value that is subtracted from each channel.
        std: Value above 0 by which each channel is divided.
        channels_last: Whether the normalised images are in ``channels_last`` memory format, which
            is faster. A network that calls ``view`` may need contiguous images.

    Raises:
        ValueError: If the values are not finite, or mean and deviation have different lengths.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels_last: bool = field(default=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        if len(self.mean) != len(self.std):
            raise ValueError(
                f"normalization: mean has {len(self.mean)} values and std {len(self.std)}; give "
                "one of each for every channel"
            )
        if min(self.std) <= 0:
            raise ValueError(f"normalization: std={list(self.std)} must be above 0")

    @property
    def channels(self) -> int:
        """Number of channels of the images."""
        return len(self.mean)

    def __call__(self, images: Tensor, device: torch.device | str | None = None) -> Tensor:
        """Convert pixels to network input: scale to [0, 1], subtract the mean, divide by the std.

        Args:
            images: Images, uint8, shape (N, C, H, W).
            device: Device of the result; by default the device of the images.

        Returns:
            Normalised images, float32, shape (N, C, H, W).

        Raises:
            TypeError: If ``images`` is not uint8.
        """
        if images.dtype != torch.uint8:
            raise TypeError(f"a normalization needs uint8 pixels, not {images.dtype}.")
        # Transfer bytes instead of floats to the device: a quarter of the data.
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        pixels = images.to(device or images.device).float().contiguous(memory_format=layout)
        mean = torch.tensor(self.mean, device=pixels.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(1, -1, 1, 1)
        return pixels.sub_(255.0 * mean).div_(255.0 * std)  # two passes, not three

    def to_json(self) -> dict[str, list[float]]:
        """The values as a JSON object; :meth:`from_json` reads it."""
        return {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, value: object) -> "Normalization":
        """A normalisation from :meth:`to_json`.

        Raises:
            ValueError: If the value is not an object with ``mean`` and ``std``.
        """
        if not isinstance(value, Mapping) or set(value) != {"mean", "std"}:
            raise ValueError(
                f"normalization={value!r} must have a mean and a std for each channel, such as "
                "{'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.25, 0.25]}"
            )
        return cls(value["mean"], value["std"])

    @staticmethod
    def default(channels: int) -> "Normalization":
        """:data:`IMAGENET` for RGB images; for others the mean of its values in each channel."""
        if channels == IMAGENET.channels:
            return IMAGENET
        mean, std = (sum(values) / len(values) for values in (IMAGENET.mean, IMAGENET.std))
        return Normalization((round(mean, 3),) * channels, (round(std, 3),) * channels)


def _numbers(name: str, values: object) -> tuple[float, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise ValueError(f"normalization: {name}={values!r} must be a list, one value a channel")
    for value in values:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ValueError(f"normalization: {name}={value!r} must be a finite number")
    return tuple(float(value) for value in values)


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Values of torchvision's networks and of the public CIFAR-10 weights; the default for RGB."""
