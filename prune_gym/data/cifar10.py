"""``cifar10``: the 60,000 images of Krizhevsky (2009), read from the binary version.

The more common "python version" is not supported: it is a pickle, which can run code when loaded.
"""

import hashlib
from pathlib import Path

import numpy as np

from prune_gym.data import store
from prune_gym.data.dataset import Dataset, split_order
from prune_gym.errors import DataError
from prune_gym.torchvision_import import dataset_utils

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # checksum of the archive
FOLDER = "cifar-10-batches-bin"
TRAIN = [f"data_batch_{k}.bin" for k in range(1, 6)]
TEST = "test_batch.bin"
PER_FILE = 10_000
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


def load(root: Path | None = None, seed: int = 0) -> Dataset:
    """Read CIFAR-10, split 45,000 / 5,000 / 10,000; without a folder, download it first.

    Args:
        root: Folder that contains ``cifar-10-batches-bin``, or that folder. Default:
            ``$PRUNE_GYM_HOME/data/cifar10``, to which the first call downloads 170 MB.
        seed: Seed of the selection of validation images, which has equal numbers per class.

    Raises:
        DataError: If a file is missing or has the wrong size, or the download fails.
    """
    name = "cifar10" if root is None else f"cifar10:{root}"
    folder = _download() if root is None else _find(root)
    paths = _check([folder / file for file in [*TRAIN, TEST]])
    state = hashlib.sha256(repr([(str(p), p.stat().st_mtime_ns) for p in paths]).encode())
    stem = f"cifar10-{state.hexdigest()[:16]}-seed{seed}"
    return store.read(name, "cifar10", stem) or _convert(name, stem, paths, seed)


def _find(root: Path) -> Path:
    """Find the folder of the binary files: ``root`` or a folder in it."""
    for folder in (root / FOLDER, root):
        if (folder / TEST).is_file():
            return folder
    reason = f"{str(root)!r} does not contain {FOLDER}."
    if (root / "cifar-10-batches-py").is_dir() or (root / "data_batch_1").is_file():
        reason = f"{str(root)!r} contains the Python version of CIFAR-10, an unsafe pickle."
    raise DataError(f"{reason} {_remedy()}")


def _remedy() -> str:
    return (
        f"Unpack {URL} (170 MB) into a folder and use cifar10:PATH, or unpack it into "
        f"{str(store.folder() / 'cifar10')!r} (set PRUNE_GYM_HOME to change this folder). For "
        "images in separate files, use imagefolder:PATH."
    )


def _download() -> Path:
    """Return the folder of the binary files in the cache; download and verify them if needed."""
    root = store.folder() / "cifar10"
    if not (root / FOLDER).is_dir():
        try:
            dataset_utils().download_and_extract_archive(
                URL, str(root), md5=MD5, remove_finished=True
            )
        except (OSError, RuntimeError) as error:  # no network, or a wrong checksum
            raise DataError(f"CIFAR-10 could not be downloaded ({error}). {_remedy()}") from error
    return root / FOLDER


def _check(paths: list[Path]) -> list[Path]:
    """Check that each file exists and has the size of 10,000 records; return the paths."""
    for path in paths:
        size, right = path.stat().st_size if path.is_file() else 0, PER_FILE * (1 + PIXELS)
        if size != right:
            raise DataError(
                f"{str(path)!r} has {size} bytes instead of {right}. Delete its folder. {_remedy()}"
            )
    return paths


def _convert(name: str, stem: str, paths: list[Path], seed: int) -> Dataset:
    """Read the records, order them, and store them."""
    records = np.concatenate(
        [np.fromfile(path, np.uint8).reshape(PER_FILE, 1 + PIXELS) for path in paths]
    )
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise DataError(f"{str(paths[0].parent)!r} contains label {labels.max()}. {_remedy()}")
    total = len(TRAIN) * PER_FILE
    order, sizes = split_order(labels[:total], labels[total:], seed)
    contents = store.Contents(labels[order], sizes, CLASSES, (3, SIZE, SIZE))

    def fill(pixels: np.ndarray) -> None:
        pixels[:] = records[order, 1:].reshape(pixels.shape)

    return store.write(name, "cifar10", stem, contents, fill)
