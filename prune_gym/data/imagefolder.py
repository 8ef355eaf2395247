"""``imagefolder:PATH``: the user's own images in ``train/<class>/*`` and ``test/<class>/*``."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from prune_gym.data import store
from prune_gym.data.dataset import Dataset, split_order
from prune_gym.errors import DataError

LAYOUT = "An image folder must contain train/<class>/* and test/<class>/*."
MODES = {3: "RGB", 1: "L"}
"""Pillow's mode by the number of channels."""
SHOWN = 3  # unreadable files that an error message lists


def load(folder: Path, image_size: int = 32, seed: int = 0, image_channels: int = 3) -> Dataset:
    """Decode a folder of images, or open the cached pixels.

    The cached pixels are used if the names, sizes and modification times of all files in the folder
    are unchanged.

    Args:
        folder: Folder that contains ``train`` and ``test``, each with one folder of images per
            class. Names that begin with a dot are ignored.
        image_size: Height and width in pixels, 8 to 1024. Images of other sizes are resized
            bilinearly; the aspect ratio is not preserved.
        seed: Seed of the order of the images, whose first tenth is the validation split.
        image_channels: 3 for RGB, 1 for grey; images of another mode are converted.

    Returns:
        The data set, with its classes in alphabetical order.

    Raises:
        DataError: If the folder, a split or a class is missing or empty, or a file is unreadable.
    """
    if not isinstance(image_size, int) or not 8 <= image_size <= 1024:
        raise DataError(f"image_size must be an integer from 8 to 1024, not {image_size!r}.")
    if image_channels not in MODES:
        raise DataError(f"image_channels={image_channels!r} must be 3 (RGB) or 1 (grey).")
    if not folder.is_dir():
        raise DataError(f"The folder {str(folder)!r} does not exist. {LAYOUT}")
    train, test = _scan(folder / "train"), _scan(folder / "test")
    if train.keys() != test.keys():
        odd = sorted(train.keys() ^ test.keys())
        raise DataError(
            f"train and test in {str(folder)!r} have different classes: only one of them contains "
            f"{', '.join(odd)}. Add the class to the other folder, or remove it."
        )
    name, key = f"imagefolder:{folder}", "imagefolder-{fingerprint}"
    grey = "-grey" if image_channels == 1 else ""
    stem = f"imagefolder-{_state(folder, [train, test])}-{image_size}px{grey}-seed{seed}"
    shape = (image_channels, image_size, image_size)
    return store.read(name, key, stem) or _decode_all(name, key, stem, (train, test), shape, seed)


def _scan(split: Path) -> dict[str, list[Path]]:
    """List the files of each class in a split, sorted."""
    if not split.is_dir():
        raise DataError(f"The folder {str(split)!r} does not exist. {LAYOUT}")
    classes = {
        entry.name: sorted(path for path in entry.iterdir() if not path.name.startswith("."))
        for entry in sorted(split.iterdir())
        if entry.is_dir() and not entry.name.startswith(".")
    }
    if len(classes) < 2:
        raise DataError(
            f"{str(split)!r} contains {len(classes)} classes; at least 2 are needed. {LAYOUT}"
        )
    if empty := [name for name, files in classes.items() if not files]:
        raise DataError(
            f"No images of {', '.join(empty)} in {str(split)!r}. Add some, or remove the class "
            "from train and test."
        )
    return classes


def _state(folder: Path, splits: list[dict[str, list[Path]]]) -> str:
    """Hash of the files' names, sizes and modification times, 16 hex digits."""
    digest = hashlib.sha256()
    for path in (path for split in splits for files in split.values() for path in files):
        stat = path.stat()
        line = f"{path.relative_to(folder).as_posix()}\0{stat.st_size}\0{stat.st_mtime_ns}\n"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def _decode_all(
    name: str,
    key: str,
    stem: str,
    splits: tuple[dict[str, list[Path]], dict[str, list[Path]]],
    shape: tuple[int, int, int],
    seed: int,
) -> Dataset:
    """Order the files, decode them, and store the pixels."""
    paths = [path for split in splits for group in split.values() for path in group]
    train, test = (np.repeat(np.arange(len(s)), [len(g) for g in s.values()]) for s in splits)
    order, sizes = split_order(train, test, seed)
    labels = np.concatenate([train, test])[order]
    contents = store.Contents(labels, sizes, tuple(splits[0]), shape)
    ordered = [paths[k] for k in order]
    return store.write(name, key, stem, contents, lambda pixels: _fill(pixels, ordered))


def _fill(pixels: np.ndarray, paths: list[Path]) -> None:
    """Decode files into ``pixels`` with one thread per processor and a progress bar.

    Raises:
        DataError: If files are unreadable. The message lists the first few.
    """

    def decode(k: int) -> str | None:
        try:
            pixels[k] = _decode(paths[k], pixels.shape[-1], MODES[pixels.shape[1]])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return f"{str(paths[k])!r} ({error})"
        return None

    with ThreadPoolExecutor() as pool:
        results = pool.map(decode, range(len(paths)), chunksize=64)
        bar = tqdm(results, total=len(paths), desc="decoding", unit="image", disable=None)
        bad = [result for result in bar if result is not None]
    if bad:
        more = f" and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        raise DataError(
            f"{len(bad)} of {len(paths)} files are not readable images: "
            f"{'; '.join(bad[:SHOWN])}{more}. Repair or remove them."
        )


def _decode(path: Path, size: int, mode: str) -> np.ndarray:
    """Decode one file to uint8, shape (channels, size, size); ``mode`` is one of ``MODES``."""
    with Image.open(path) as file:
        if file.mode.startswith("I;16"):
            # Pillow would clip 16-bit values to white, so keep the upper 8 bits.
            image = Image.fromarray((np.asarray(file) >> 8).astype(np.uint8)).convert(mode)
        elif file.mode in ("I", "F"):
            raise ValueError(f"mode {file.mode!r} has no defined range; save the image with 8 bits")
        else:
            image = file.convert(mode)
    if image.size != (size, size):
        # Pillow widens its bilinear filter when it shrinks an image, which avoids aliasing.
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, -1).transpose(2, 0, 1)
