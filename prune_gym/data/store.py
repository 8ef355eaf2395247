"""Decoded data sets on disk: ``STEM.npy`` (pixels), ``STEM.labels.npy`` and ``STEM.json``.

A data set is decoded once. Its pixels are memory-mapped, so all processes share the memory. No file
is a pickle. The JSON file is written last, so a data set without it is incomplete and is ignored.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from prune_gym.data.dataset import Dataset, Split
from prune_gym.errors import DataError
from prune_gym.files import home, write_atomically, write_json

CHUNK = 4096  # images hashed at a time


@dataclass(frozen=True)
class Contents:
    """Everything in a data set except the pixels.

    Attributes:
        labels: Labels of the training, validation and test images, int64, shape (N,).
        sizes: Number of images in the three splits.
        classes: Class names, indexed by label.
        image_shape: Channels, height and width of an image.
    """

    labels: np.ndarray
    sizes: tuple[int, int, int]
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]


def folder() -> Path:
    """Folder of the decoded data sets, in :func:`prune_gym.files.home`."""
    return home() / "data"


def read(name: str, key: str, stem: str) -> Dataset | None:
    """Open a stored data set.

    The fingerprint is recomputed only if the size or modification time of a file has changed.
    Opening therefore takes milliseconds, and edited or truncated files are still detected.

    Args:
        name: Name of the data set.
        key: Key of the data set; ``{fingerprint}`` is replaced by 12 digits of the fingerprint.
        stem: Name of the files without suffix.

    Returns:
        The data set, or None if it does not exist or is damaged and must be written again.
    """
    pixels_path, labels_path, json_path = _paths(stem)
    try:
        record = json.loads(json_path.read_text(encoding="utf-8"))
        # Use copy-on-write: torch requires writable memory, and the file must not change.
        pixels = np.load(pixels_path, mmap_mode="c", allow_pickle=False)
        labels = np.load(labels_path, allow_pickle=False)
        contents = Contents(
            labels, tuple(record["sizes"]), tuple(record["classes"]), pixels.shape[1:]
        )
        fingerprint = record["fingerprint"]
        if record["stamps"] != _stamps(stem) and fingerprint != _fingerprint(pixels, contents):
            return None
        return _dataset(name, key, fingerprint, pixels, contents)
    except (OSError, EOFError, ValueError, KeyError, TypeError, IndexError):
        return None


def write(
    name: str, key: str, stem: str, contents: Contents, fill: Callable[[np.ndarray], None]
) -> Dataset:
    """Store a data set, then open it.

    Args:
        name: Name of the data set; for ``key`` and ``stem``, see :func:`read`.
        key: Key of the data set.
        stem: Name of the files without suffix.
        contents: Labels, splits, classes and image size.
        fill: Function that writes the pixels into a uint8 array of shape (N, C, H, W), in the
            order of the labels.

    Raises:
        DataError: If the folder is not writable.
    """
    pixels_path, labels_path, json_path = _paths(stem)
    shape = (len(contents.labels), *contents.image_shape)

    fingerprint = ""

    def write_pixels(temporary: Path) -> None:
        nonlocal fingerprint
        _reserve(temporary, shape)
        pixels = np.load(temporary, mmap_mode="r+", allow_pickle=False)
        fill(pixels)
        fingerprint = _fingerprint(pixels, contents)
        pixels.flush()

    try:
        write_atomically(pixels_path, write_pixels)
        write_atomically(labels_path, lambda temporary: np.save(temporary, contents.labels))
        record = {"fingerprint": fingerprint, "sizes": contents.sizes, "stamps": _stamps(stem)}
        write_json(json_path, record | {"classes": contents.classes})
    except OSError as error:
        raise DataError(
            f"Cannot write to the data cache {str(folder())!r} ({error}). Free some space, or set "
            "PRUNE_GYM_HOME to another folder."
        ) from error
    pixels = np.load(pixels_path, mmap_mode="c", allow_pickle=False)
    return _dataset(name, key, fingerprint, pixels, contents)


def _reserve(path: Path, shape: tuple[int, ...]) -> None:
    """Write an array of zeros plainly: a full disk is an error here, but kills a mapped process."""
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header | {"shape": shape})
        left, zeros = math.prod(shape), bytes(1 << 20)
        while left > 0:
            left -= file.write(zeros[:left])
        file.flush()
        os.fsync(file.fileno())


def _paths(stem: str) -> tuple[Path, Path, Path]:
    return folder() / f"{stem}.npy", folder() / f"{stem}.labels.npy", folder() / f"{stem}.json"


def _stamps(stem: str) -> list[list[int]]:
    """Size in bytes and modification time in ns of the two array files."""
    return [[path.stat().st_size, path.stat().st_mtime_ns] for path in _paths(stem)[:2]]


def _fingerprint(pixels: np.ndarray, contents: Contents) -> str:
    """SHA-256 of shape, splits and classes, followed by labels and pixels."""
    head = [pixels.dtype.str, list(pixels.shape), list(contents.sizes), list(contents.classes)]
    digest = hashlib.sha256(json.dumps(head).encode())
    digest.update(np.ascontiguousarray(contents.labels, dtype="<i8").tobytes())
    for first in range(0, len(pixels), CHUNK):
        digest.update(pixels[first : first + CHUNK].data)
    return digest.hexdigest()


def _dataset(
    name: str, key: str, fingerprint: str, pixels: np.ndarray, contents: Contents
) -> Dataset:
    images, labels = torch.from_numpy(pixels), torch.from_numpy(contents.labels)
    if len(images) != len(labels) or len(labels) != sum(contents.sizes):
        raise ValueError(f"{len(images)} images, {len(labels)} labels, sizes {contents.sizes}.")
    train, validation, test = (
        Split(*pair)
        for pair in zip(images.split(contents.sizes), labels.split(contents.sizes), strict=True)
    )
    key = key.format(fingerprint=fingerprint[:12])
    return Dataset(name, key, fingerprint, contents.classes, train, validation, test)
