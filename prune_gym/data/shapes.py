"""``shapes``: ten classes of 32 x 32 images generated from a seed; no download is needed.

Each image shows one of ten shapes near the centre, with random size, angle, aspect ratio, colour
and texture. The background is textured and cluttered with smaller shapes, bars cover parts of the
shape, and uneven light and noise are added. The ranges (in ``_draw``) are this project's choice,
such that a ResNet-20 does not reach perfect accuracy.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from prune_gym.data import store
from prune_gym.data.dataset import Dataset
from prune_gym.files import sha256

SIZES = (20_000, 2_500, 5_000)  # training, validation, test
SIZE = 32
CHUNK = 500  # images that a thread draws at a time
CLASSES = (  # in the order of ``_draw.inside``
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


def load(seed: int = 0) -> Dataset:
    """Draw ``shapes``, or open the cached images; the shipped baselines use seed 0."""
    key = "shapes" if seed == 0 else f"shapes-seed{seed}"
    # The hash of the drawing code is part of the name, so images of older versions are not used.
    stem = f"shapes-{sha256(Path(__file__).with_name('_draw.py'))[:12]}-seed{seed}"
    return store.read("shapes", key, stem) or _draw(key, stem, seed)


def _draw(key: str, stem: str, seed: int) -> Dataset:
    from prune_gym.data._draw import draw  # imported here because Numba takes a second to import

    labels = np.arange(sum(SIZES), dtype=np.int64) % len(CLASSES)
    contents = store.Contents(labels, SIZES, CLASSES, (3, SIZE, SIZE))

    def fill(pixels: np.ndarray) -> None:
        # Use Python threads (the kernel releases the GIL), because Numba's threads do not survive a
        # fork, and environments may run in forked processes.
        with ThreadPoolExecutor() as pool:
            starts = range(0, len(pixels), CHUNK)
            list(pool.map(lambda k: draw(seed, k, pixels[k : k + CHUNK]), starts))

    return store.write("shapes", key, stem, contents, fill)
