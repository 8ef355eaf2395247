"""What a data set is, and how its images are put in order."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, (N, 3, H, W), RGB, 0-255; memory-mapped, so read batches of it and do not
            write to it.
        labels: int64, (N,).
    """

    images: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """An image classification data set with its three splits.

    In each split the classes take turns, so that its first images stand for all of it.

    Attributes:
        name: What :func:`prune_gym.data.load_dataset` takes: ``shapes``, ``cifar10``,
            ``cifar10:PATH`` or ``imagefolder:PATH``.
        key: A short name that can stand in a file's name.
        fingerprint: SHA-256 (hex) of pixels, labels, classes and splits.
        classes: Names of the classes, by label.
        train: What networks are trained on.
        validation: What is looked at while searching.
        test: What is looked at once, at the end.
    """

    name: str
    key: str
    fingerprint: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order in which the classes take turns, and each class's images come as ``seed`` has it.

    Image k of the n of its class goes to (k + 1/2) / n of the way, so that any first part of the
    order holds each class in its share of the whole, to within one image (this project's choice).

    Args:
        labels: int, (N,).
        seed: Of the permutation, at least 0.

    Returns:
        int64, (N,): indices into ``labels``.
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.lexsort((labels, place))
