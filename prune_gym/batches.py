"""Splitting of images into batches for forward passes, whose activations bound the memory."""

import math

from torch import Tensor

FULL_BATCH = 64 * 64
"""Largest number of pixels of an image in a full batch; batches of larger images are smaller."""


def batch_size(images: Tensor, most: int) -> int:
    """Number of images in a batch.

    Args:
        images: Images, shape (N, C, H, W).
        most: Number of images in a full batch. A batch has at most as many pixels as a full batch
            of images with ``FULL_BATCH`` pixels, but at least one image.
    """
    return max(1, min(most, most * FULL_BATCH // math.prod(images.shape[2:])))


def split_images(images: Tensor, most: int) -> tuple[Tensor, ...]:
    """Split images into batches of :func:`batch_size` images."""
    return images.split(batch_size(images, most))
