"""Batches have at most so many images, and fewer if the images are large."""

import torch

from prune_gym.batches import split_images


def test_batches_of_large_images_are_small():
    sizes = [len(part) for part in split_images(torch.empty(300, 3, 64, 64), 128)]
    assert sizes == [128, 128, 44]
    assert {len(part) for part in split_images(torch.empty(20, 3, 224, 224), 128)} == {10}
    assert {len(part) for part in split_images(torch.empty(2, 1, 1024, 1024), 128)} == {1}
