"""``cifar10``: the 60,000 images of Krizhevsky (2009), from the archive's binary version.

The usual "python version" is a pickle, which can run code when it is opened, so it is not read.
"""

import hashlib
from pathlib import Path

import numpy as np

from prune_gym.data import store
from prune_gym.data._torchvision import dataset_utils
from prune_gym.data.dataset import Dataset, stratified_order
from prune_gym.errors import DataError

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of the archive
FOLDER = "cifar-10-batches-bin"
TRAIN = [f"data_batch_{k}.bin" for k in range(1, 6)]
TEST = "test_batch.bin"
PER_FILE = 10_000
VALIDATION = 0.1  # of the training images: 5,000
SIZE = 32
PIXELS = 3 * SIZE * SIZE
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load(root: Path | None = None, image_size: int = SIZE, seed: int = 0) -> Dataset:
    """Read CIFAR-10, split 45,000 / 5,000 / 10,000; downloaded where no folder is given.

    Args:
        root: Holds ``cifar-10-batches-bin``, or is that folder. Without it,
            ``$PRUNE_GYM_HOME/data/cifar10``, which a first call fills (170 MB).
        image_size: 32.
        seed: Of the choice of the validation images, as many of each class.

    Returns:
        The data set.

    Raises:
        DataError: Another image size; no such folder; files missing or of a wrong size; no network.
    """
    if image_size != SIZE:
        raise DataError(f"Images of 'cifar10' are {SIZE} pixels wide, not {image_size!r}.")
    name = "cifar10" if root is None else f"cifar10:{root}"
    folder = _download() if root is None else _find(root)
    paths = _check([folder / file for file in [*TRAIN, TEST]])
    state = hashlib.sha256(repr([(str(p), p.stat().st_mtime_ns) for p in paths]).encode())
    stem = f"cifar10-{state.hexdigest()[:16]}-seed{seed}"
    return store.read(name, "cifar10", stem) or _convert(name, stem, paths, seed)


def _find(root: Path) -> Path:
    """The folder of the binary files in, or at, the one that the user gave."""
    for folder in (root / FOLDER, root):
        if (folder / TEST).is_file():
            return folder
    reason = f"{str(root)!r} holds no {FOLDER}."
    if (root / "cifar-10-batches-py").is_dir() or (root / "data_batch_1").is_file():
        reason = f"{str(root)!r} holds CIFAR-10's Python version, a pickle, which is not opened."
    raise DataError(f"{reason} {_remedy()}")


def _remedy() -> str:
    return (
        f"Unpack {URL} (170 MB) there and name that folder, cifar10:PATH, or unpack it in "
        f"{str(store.folder() / 'cifar10')!r} (PRUNE_GYM_HOME moves that); images in files of "
        "their own can be used as imagefolder:PATH."
    )


def _download() -> Path:
    """The folder of the binary files in the cache, downloaded and verified if it is not there."""
    root = store.folder() / "cifar10"
    if not (root / FOLDER).is_dir():
        try:
            dataset_utils().download_and_extract_archive(
                URL, str(root), md5=MD5, remove_finished=True
            )
        except (OSError, RuntimeError) as error:  # no network; another checksum
            raise DataError(f"CIFAR-10 could not be downloaded ({error}). {_remedy()}") from error
    return root / FOLDER


def _check(paths: list[Path]) -> list[Path]:
    """The same paths, once each is there with its 10,000 records of a label and an image."""
    for path in paths:
        size, right = path.stat().st_size if path.is_file() else 0, PER_FILE * (1 + PIXELS)
        if size != right:
            raise DataError(
                f"{str(path)!r} holds {size} bytes instead of {right}: remove its folder. "
                f"{_remedy()}"
            )
    return paths


def _convert(name: str, stem: str, paths: list[Path], seed: int) -> Dataset:
    """Read the records, put them in order, and store them."""
    records = np.concatenate(
        [np.fromfile(path, np.uint8).reshape(PER_FILE, 1 + PIXELS) for path in paths]
    )
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise DataError(f"{str(paths[0].parent)!r} holds a label {labels.max()}. {_remedy()}")
    total = len(TRAIN) * PER_FILE
    order = stratified_order(labels[:total], seed)
    held_out = round(VALIDATION * total)
    test = total + stratified_order(labels[total:], seed)
    order = np.concatenate([order[held_out:], order[:held_out], test])
    contents = store.Contents(labels[order], (total - held_out, held_out, len(test)), CLASSES, SIZE)

    def fill(pixels: np.ndarray) -> None:
        pixels[:] = records[order, 1:].reshape(pixels.shape)

    return store.write(name, "cifar10", stem, contents, fill)
