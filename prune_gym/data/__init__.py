"""Data sets: one call loads any of them, two functions bring a batch to the network.

Example:
    >>> import torch
    >>> from prune_gym.data import augment, load_dataset, normalize
    >>> data = load_dataset("shapes")
    >>> batch = augment(data.train.images[:128], torch.Generator().manual_seed(0))
    >>> normalize(batch).shape
    torch.Size([128, 3, 32, 32])
"""

from functools import lru_cache
from pathlib import Path

from prune_gym.data import cifar10, imagefolder, shapes
from prune_gym.data.dataset import Dataset, Split
from prune_gym.data.transforms import MEAN, STD, augment, normalize
from prune_gym.errors import DataError, UnknownNameError
from prune_gym.files import home

__all__ = [
    "MEAN",
    "STD",
    "Dataset",
    "Split",
    "augment",
    "load_dataset",
    "names",
    "normalize",
]


def names() -> list[str]:
    """The data sets there are, as :func:`load_dataset` takes them; PATH stands for a folder."""
    return ["shapes", "cifar10", "cifar10:PATH", "imagefolder:PATH"]


def load_dataset(
    name: str, *, root: Path | None = None, image_size: int = 32, seed: int = 0
) -> Dataset:
    """Load a data set; the same one again, within a process, comes from memory.

    Args:
        name: ``shapes``, ``cifar10``, ``cifar10:PATH`` (a folder that has it) or
            ``imagefolder:PATH`` (``train/<class>/*`` and ``test/<class>/*``).
        root: PATH by another way, for the names that take one.
        image_size: Height and width in pixels that images of a folder are resized to; the others
            are 32 pixels wide.
        seed: Of the split into training and validation images, or of the drawing of ``shapes``;
            at least 0.

    Returns:
        The data set; its pixels are memory-mapped from :func:`prune_gym.files.home`.

    Raises:
        UnknownNameError: No data set has that name.
        DataError: It is missing, incomplete or unreadable, or does not take that argument.
    """
    kind, _, path = name.partition(":")
    if kind not in ("shapes", "cifar10", "imagefolder") or (kind == "shapes" and ":" in name):
        raise UnknownNameError("data set", name, names())
    if path and root is not None:
        raise DataError(f"Both {name!r} and root={str(root)!r} name a folder; give one of them.")
    if kind == "shapes" and root is not None:
        raise DataError(f"'shapes' is drawn, not read: it takes no root, here {str(root)!r}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DataError(f"The seed of a data set is a whole number of at least 0, not {seed!r}.")
    source = Path(path).expanduser().resolve() if path else root and Path(root).resolve()
    return _load(kind, source, image_size, seed, home())


@lru_cache(maxsize=8)
def _load(kind: str, source: Path | None, image_size: int, seed: int, _home: Path) -> Dataset:
    # The home folder is an argument so that a change of PRUNE_GYM_HOME is seen.
    if kind == "shapes":
        return shapes.load(image_size, seed)
    if kind == "cifar10":
        return cifar10.load(source, image_size, seed)
    if source is None:
        raise DataError("'imagefolder' needs a folder: write imagefolder:PATH.")
    return imagefolder.load(source, image_size, seed)
