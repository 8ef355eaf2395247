"""``shapes``: ten classes of 32 x 32 images, drawn from a seed, so that all runs offline at once.

An image shows one of ten shapes, anywhere near the middle, of any size, angle, proportion, colour
and texture, before a textured background with smaller shapes as clutter, behind bars that cover
parts of it, in uneven light and with noise. The ranges (in ``_draw``) are this project's choice,
made so that a ResNet-20 does not reach the ceiling.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from prune_gym.data import store
from prune_gym.data.dataset import Dataset
from prune_gym.errors import DataError
from prune_gym.files import sha256

SIZES = (20_000, 2_500, 5_000)  # training, validation, test
SIZE = 32
CHUNK = 500  # images that a thread draws at a time
CLASSES = (  # in the order of the kinds of ``_draw.inside``
    "disk",
    "ring",
    "crescent",
    "half-disk",
    "triangle",
    "square",
    "hexagon",
    "cross",
    "star",
    "tee",
)


def load(image_size: int = SIZE, seed: int = 0) -> Dataset:
    """Draw ``shapes``, or open it where it was drawn before.

    Args:
        image_size: 32.
        seed: Of the drawing, at least 0; the baselines of the package belong to 0.

    Returns:
        The data set. Its key is ``shapes`` for seed 0, else ``shapes-seed<seed>``.

    Raises:
        DataError: Another image size, or a cache that cannot be written.
    """
    if image_size != SIZE:
        raise DataError(f"Images of 'shapes' are {SIZE} pixels wide, not {image_size!r}.")
    key = "shapes" if seed == 0 else f"shapes-seed{seed}"
    # The drawing's code is part of the name, so that an older version's images are not taken.
    stem = f"shapes-{sha256(Path(__file__).with_name('_draw.py'))[:12]}-seed{seed}"
    return store.read("shapes", key, stem) or _draw("shapes", key, stem, seed)


def _draw(name: str, key: str, stem: str, seed: int) -> Dataset:
    from prune_gym.data._draw import draw  # Numba takes a second to import

    labels = np.arange(sum(SIZES), dtype=np.int64) % len(CLASSES)
    contents = store.Contents(labels, SIZES, CLASSES, SIZE)

    def fill(pixels: np.ndarray) -> None:
        # Plain threads (the kernel lets go of Python's lock) rather than Numba's own: those do not
        # survive a fork, and environments are run in forked processes.
        with ThreadPoolExecutor() as pool:
            starts = range(0, len(pixels), CHUNK)
            list(pool.map(lambda k: draw(seed, k, pixels[k : k + CHUNK]), starts))

    return store.write(name, key, stem, contents, fill)
