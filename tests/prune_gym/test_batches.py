"""Batches have at most so many images, and fewer if the images are large."""

import pytest
import torch

from prune_gym.batches import NormalizedImages, split_images
from prune_gym.data import IMAGENET


def test_batches_of_large_images_are_small():
    sizes = [len(part) for part in split_images(torch.empty(300, 3, 64, 64), 128)]
    assert sizes == [128, 128, 44]
    assert {len(part) for part in split_images(torch.empty(20, 3, 224, 224), 128)} == {10}
    assert {len(part) for part in split_images(torch.empty(2, 1, 1024, 1024), 128)} == {1}


@pytest.mark.parametrize("size", [1, 4, 10, 11, 50])
def test_lazy_batches_are_those_of_the_normalised_images(size):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (11, 3, 8, 8), generator=generator, dtype=torch.uint8)
    lazy, whole = NormalizedImages(pixels, IMAGENET, "cpu"), IMAGENET(pixels)
    assert (len(lazy), lazy.shape, lazy.dtype) == (11, whole.shape, whole.dtype)
    assert torch.equal(lazy[2:5], whole[2:5])
    parts = lazy.split(size)
    assert len(parts) == len(whole.split(size))
    for _ in range(2):  # they can be read again
        assert all(map(torch.equal, parts, whole.split(size)))
    assert torch.equal(parts[-1], whole.split(size)[-1])
    assert [len(part) for part in parts[1:]] == [len(part) for part in whole.split(size)[1:]]
    with pytest.raises(IndexError):
        parts[len(parts)]
