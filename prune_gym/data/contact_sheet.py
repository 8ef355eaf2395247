"""Draw sample images of a data set: ``python -m prune_gym.data.contact_sheet DATASET OUT.png``.

The sheet has one row of training images per class; images are enlarged by an integer factor.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from prune_gym.data import Dataset, load_dataset
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically

ROW = 64  # approximate height of a row in pixels; smaller images are enlarged
GAP = 4
NAMES = 96  # width of the column with class names, in pixels


def contact_sheet(dataset: Dataset, path: Path, columns: int = 8) -> Path:
    """Draw the first training images of each class as a PNG file, one row per class.

    Args:
        dataset: The data set.
        path: Path of the PNG file.
        columns: Maximum number of images per class.

    Returns:
        ``path``.
    """
    labels = dataset.train.labels.numpy()
    scale = max(1, ROW // dataset.train.images.shape[-1])
    cell = dataset.train.images.shape[-1] * scale
    width, height = NAMES + columns * (cell + GAP), len(dataset.classes) * (cell + GAP)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for label, name in enumerate(dataset.classes):
        top = label * (cell + GAP)
        pen.text((GAP, top + cell // 2), name, fill="black", anchor="lm")
        for column, k in enumerate(np.flatnonzero(labels == label)[:columns]):
            pixels = dataset.train.images[k].permute(1, 2, 0).squeeze(2).contiguous().numpy()
            image = Image.fromarray(pixels).resize((cell, cell), Image.Resampling.NEAREST)
            sheet.paste(image, (NAMES + column * (cell + GAP), top))
    return write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and draw the sheet."""
    parser = argparse.ArgumentParser(
        prog="python -m prune_gym.data.contact_sheet", description="Draw some images of each class."
    )
    parser.add_argument("dataset", help="shapes, cifar10, cifar10:PATH or imagefolder:PATH")
    parser.add_argument("out", type=Path, help="the PNG file to write")
    options = parser.parse_args(arguments)
    try:
        print(contact_sheet(load_dataset(options.dataset), options.out))
    except PruneGymError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
