"""Images in batches, whose size bounds the memory of a forward pass."""

import math
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, overload

import torch
from torch import Tensor

from prune_gym.data import Normalization

FULL_BATCH = 64 * 64
"""Largest number of pixels of an image in a full batch; batches of larger images are smaller."""
ItemT = TypeVar("ItemT")


class Lazy(Sequence[ItemT], Generic[ItemT]):
    """A sequence whose items are made when they are read, and are not kept.

    Args:
        length: Number of items.
        make: Function that returns the item with a number.
    """

    def __init__(self, length: int, make: Callable[[int], ItemT]) -> None:
        self._numbers, self._make = range(length), make

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> ItemT: ...
    @overload
    def __getitem__(self, index: slice) -> list[ItemT]: ...
    def __getitem__(self, index: int | slice) -> ItemT | list[ItemT]:
        if isinstance(index, slice):
            return [self._make(number) for number in self._numbers[index]]
        return self._make(self._numbers[index])


class NormalizedImages:
    """Images that are normalised batch by batch, when they are read.

    Pixels take a quarter of the memory of network input: 1,000 images of 224 x 224 take 150 MB
    instead of 600.

    Args:
        pixels: Images, uint8, shape (N, C, H, W).
        normalization: Normalisation of the network that reads them.
        device: Device of the normalised images.
    """

    def __init__(
        self, pixels: Tensor, normalization: Normalization, device: torch.device | str
    ) -> None:
        self.pixels, self.normalization = pixels, normalization
        self.device = torch.device(device)

    @property
    def shape(self) -> torch.Size:
        """(N, C, H, W)."""
        return self.pixels.shape

    @property
    def dtype(self) -> torch.dtype:
        """Type of the normalised images."""
        return torch.float32

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, part: slice) -> Tensor:
        """The normalised images of a slice, float32, shape (N, C, H, W)."""
        return self.normalization(self.pixels[part], self.device)

    def split(self, size: int) -> Sequence[Tensor]:
        """The images in batches of ``size``, as ``Tensor.split`` returns them."""
        batches = math.ceil(len(self) / size)
        return Lazy(batches, lambda k: self[k * size : (k + 1) * size])


Images = Tensor | NormalizedImages
"""Normalised images, shape (N, C, H, W)."""


def batch_size(images: Images, most: int) -> int:
    """Number of images in a batch.

    Args:
        images: Images, shape (N, C, H, W).
        most: Number of images in a full batch. A batch has at most as many pixels as a full batch
            of images with ``FULL_BATCH`` pixels, but at least one image.
    """
    return max(1, min(most, most * FULL_BATCH // math.prod(images.shape[2:])))


def split_images(images: Images, most: int) -> Sequence[Tensor]:
    """Split images into batches of :func:`batch_size` images."""
    return images.split(batch_size(images, most))
