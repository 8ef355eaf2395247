import hashlib

import numpy as np
import pytest
import torch

from prune_gym.data import load_dataset, shapes
from prune_gym.data._draw import KINDS, draw, inside
from prune_gym.errors import DataError

FINGERPRINT = "1ca85f1f6439dcbd73f1cb52784291af1b247ef817011d7e9a6c380ae9f13189"
FIRST_100 = "ffb79519560c8949cc7e83e0efbb5ff597c454bdc80b7cf352d03790d5c24156"


def drawn(number=40, seed=0, first=0):
    out = np.empty((number, 3, 32, 32), np.uint8)
    draw(seed, first, out)
    return out


@pytest.mark.float
def test_shapes_have_one_checksum_on_every_processor():
    assert hashlib.sha256(drawn(100).tobytes()).hexdigest() == FIRST_100


def test_whole_data_set(data_home):
    data = load_dataset("shapes")
    assert data.fingerprint == FINGERPRINT
    assert len(data.classes) == KINDS
    assert (data.name, data.key, data.classes) == ("shapes", "shapes", shapes.CLASSES)
    for split, size in zip((data.train, data.validation, data.test), shapes.SIZES, strict=True):
        assert split.images.shape == (size, 3, 32, 32)
        assert split.images.dtype == torch.uint8
        assert split.labels.dtype == torch.int64
        assert split.labels.bincount().tolist() == [size // 10] * 10
    everything = torch.cat([data.train.images, data.validation.images, data.test.images])
    assert len({image.tobytes() for image in everything.numpy()}) == sum(shapes.SIZES)


def test_images_do_not_depend_on_threads_or_neighbours(data_home, monkeypatch):
    np.testing.assert_array_equal(drawn(40)[10:], drawn(30, first=10))
    monkeypatch.setattr(shapes, "SIZES", (20, 10, 10))
    monkeypatch.setattr(shapes, "CHUNK", 3)
    data = shapes.load()
    everything = torch.cat([data.train.images, data.validation.images, data.test.images])
    np.testing.assert_array_equal(everything.numpy(), drawn(40))


def test_seed_changes_every_image():
    one, two = drawn(seed=0), drawn(seed=1)
    assert (one != two).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("kind", range(KINDS))
def test_shapes_are_of_similar_area_and_their_own_mirror_image(kind):
    steps = np.linspace(-1.2, 1.2, 100)
    grid = np.array([[inside(kind, x, y) for x in steps] for y in steps])
    assert 0.8 < grid.mean() * 2.4**2 < 2.8
    mirrored = [grid[:, ::-1], grid[::-1]]
    assert any((grid == other).mean() > 0.99 for other in mirrored)
    assert not grid[[0, -1]].any(), "the shape reaches beyond the range it is drawn in"


def test_cache_is_used_and_a_damaged_one_is_drawn_again(data_home, monkeypatch):
    monkeypatch.setattr(shapes, "SIZES", (40, 20, 20))
    fresh = shapes.load()
    images = fresh.test.images.clone()
    with monkeypatch.context() as patch:
        patch.setattr(shapes, "_draw", lambda *_: pytest.fail("drawn again"))
        assert shapes.load().fingerprint == fresh.fingerprint
    (pixels,) = [path for path in data_home.glob("data/*.npy") if "labels" not in path.name]
    damaged = bytearray(pixels.read_bytes())
    damaged[-1] ^= 1
    pixels.write_bytes(damaged)
    repaired = shapes.load()
    assert repaired.fingerprint == fresh.fingerprint
    assert torch.equal(repaired.test.images, images)


def test_seed_names_the_key(data_home, monkeypatch):
    monkeypatch.setattr(shapes, "SIZES", (20, 10, 10))
    assert load_dataset("shapes", seed=3).key == "shapes-seed3"
    assert load_dataset("shapes", seed=3).fingerprint != load_dataset("shapes").fingerprint


def test_other_sizes_are_refused(data_home):
    with pytest.raises(DataError, match="image_size=64 is not supported"):
        load_dataset("shapes", image_size=64)
