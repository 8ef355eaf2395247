from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prune_gym.data


@pytest.fixture
def data_home(tmp_path, monkeypatch):
    """An empty cache folder for one test."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PRUNE_GYM_HOME", str(folder))
    prune_gym.data._load.cache_clear()
    yield folder
    prune_gym.data._load.cache_clear()


@pytest.fixture
def image_folder(tmp_path):
    """A function that makes a small image folder; each file has a unique colour."""

    def make(classes=("cat", "dog"), train=10, test=3, size=(8, 8)) -> Path:
        root = tmp_path / "images"
        for split, number in (("train", train), ("test", test)):
            for label, name in enumerate(classes):
                (root / split / name).mkdir(parents=True)
                for k in range(number):
                    colour = (100 * label, 10 * k, 255 if split == "test" else 0)
                    Image.new("RGB", size, colour).save(root / split / name / f"{k}.png")
        return root

    return make


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """A folder with CIFAR-10's binary files; each has 40 images with label k mod 10."""
    from prune_gym.data import cifar10

    monkeypatch.setattr(cifar10, "PER_FILE", 40)
    folder = tmp_path / "cifar" / cifar10.FOLDER
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in [*cifar10.TRAIN, cifar10.TEST]:
        records = rng.integers(0, 256, (40, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(40) % 10
        records.tofile(folder / name)
    return folder
