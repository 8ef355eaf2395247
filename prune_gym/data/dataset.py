"""Data sets with three splits, and the order of their images."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: RGB or grey images, uint8 (0 to 255), shape (N, C, H, W) with C of 3 or 1. The
            tensor is memory-mapped: read it in batches and do not write to it.
        labels: Labels, int64, shape (N,).
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """An image classification data set with three splits.

    Each split interleaves the classes, so that its first images are representative.

    Attributes:
        name: Name for :func:`prune_gym.data.load_dataset`: ``shapes``, ``cifar10``,
            ``cifar10:PATH`` or ``imagefolder:PATH``.
        key: Short name for use in file names.
        fingerprint: SHA-256 (hex) of pixels, labels, classes and splits.
        classes: Class names, indexed by label.
        train: Images for training.
        validation: Images for evaluation during the search.
        test: Images for one final evaluation after the search.
    """

    name: str
    key: str
    fingerprint: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


VALIDATION = 0.1  # share of the training images; this project's choice


def split_order(
    train: np.ndarray, test: np.ndarray, seed: int
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Order of the images of training, validation and test, and the sizes of the three splits.

    The first tenth of the stratified training images, at least one, is for validation.
    """
    order, held_out = stratified_order(train, seed), max(1, round(VALIDATION * len(train)))
    tested = len(train) + stratified_order(test, seed)
    sizes = (len(train) - held_out, held_out, len(test))
    return np.concatenate([order[held_out:], order[:held_out], tested]), sizes


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return an order that interleaves the classes and shuffles the images within each class.

    Image k of a class with n images is placed at (k + 1/2) / n of the order. Each prefix of the
    order therefore contains the classes in proportion, to within one image (this project's choice).

    Args:
        labels: Integer labels, shape (N,).
        seed: Seed of the permutation, at least 0.

    Returns:
        Indices into ``labels``, int64, shape (N,).
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((labels, place))
