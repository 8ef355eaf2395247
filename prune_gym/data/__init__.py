"""Data sets: ``load_dataset`` loads them, ``augment`` and a ``Normalization`` prepare batches.

Example:
    >>> import torch
    >>> from prune_gym.data import IMAGENET, augment, load_dataset
    >>> data = load_dataset("shapes")
    >>> batch = augment(data.train.images[:128], torch.Generator().manual_seed(0))
    >>> IMAGENET(batch).shape
    torch.Size([128, 3, 32, 32])
"""

from functools import lru_cache
from pathlib import Path

from prune_gym.data import cifar10, imagefolder, shapes
from prune_gym.data.dataset import Dataset, Split
from prune_gym.data.normalization import IMAGENET, Normalization
from prune_gym.data.transforms import augment
from prune_gym.errors import DataError, UnknownNameError
from prune_gym.files import home

__all__ = [
    "IMAGENET",
    "Dataset",
    "Normalization",
    "Split",
    "augment",
    "load_dataset",
    "names",
]


def names() -> list[str]:
    """Names that :func:`load_dataset` accepts; PATH is a placeholder for a folder."""
    return ["shapes", "cifar10", "cifar10:PATH", "imagefolder:PATH"]


def load_dataset(
    name: str,
    *,
    root: Path | None = None,
    image_size: int = 32,
    image_channels: int = 3,
    seed: int = 0,
) -> Dataset:
    """Load a data set; repeated calls within a process return the same object.

    Args:
        name: ``shapes``, ``cifar10``, ``cifar10:PATH`` (a folder with the binary files) or
            ``imagefolder:PATH`` (a folder with ``train/<class>/*`` and ``test/<class>/*``).
        root: Alternative to PATH for the names that accept one.
        image_size: Height and width in pixels to which the images of a folder are resized; the
            other data sets are always 32 pixels wide.
        image_channels: Channels of the images of a folder, 3 (RGB) or 1 (grey); the other data
            sets always have 3.
        seed: Seed of the split into training and validation images, or of the drawing of
            ``shapes``; at least 0.

    Returns:
        The data set; its pixels are memory-mapped from :func:`prune_gym.files.home`.

    Raises:
        UnknownNameError: If no data set has this name.
        DataError: If the data set is missing, incomplete or unreadable, or does not support an
            argument.
    """
    kind, _, path = name.partition(":")
    if kind not in ("shapes", "cifar10", "imagefolder") or (kind == "shapes" and ":" in name):
        raise UnknownNameError("data set", name, names())
    if path and root is not None:
        raise DataError(f"Both {name!r} and root={str(root)!r} name a folder; pass only one.")
    if kind == "shapes" and root is not None:
        raise DataError(f"'shapes' is generated and has no folder; remove root={str(root)!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DataError(f"The seed of a data set must be an integer >= 0, not {seed!r}.")
    source = Path(path).expanduser().resolve() if path else root and Path(root).resolve()
    return _load(kind, source, image_size, image_channels, seed, home())


@lru_cache(maxsize=8)
def _load(
    kind: str, source: Path | None, image_size: int, image_channels: int, seed: int, _home: Path
) -> Dataset:
    # The home folder is an argument so that a change of PRUNE_GYM_HOME invalidates the cache.
    if kind != "imagefolder" and image_size != 32:
        raise DataError(f"image_size={image_size!r} is not supported: {kind!r} is 32 pixels wide.")
    if kind != "imagefolder" and image_channels != 3:
        raise DataError(
            f"image_channels={image_channels!r} is not supported: the images of {kind!r} are RGB."
        )
    if kind == "shapes":
        return shapes.load(seed)
    if kind == "cifar10":
        return cifar10.load(source, seed)
    if source is None:
        raise DataError("'imagefolder' needs a folder: use imagefolder:PATH.")
    return imagefolder.load(source, image_size, seed, image_channels)
