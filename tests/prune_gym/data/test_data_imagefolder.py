import os

import numpy as np
import pytest
import torch
from PIL import Image

from prune_gym.data import imagefolder, load_dataset
from prune_gym.data.dataset import stratified_order
from prune_gym.errors import DataError


def load(root, **options):
    return load_dataset(f"imagefolder:{root}", **options)


def colours(split):
    """Check that each image has one colour, and return the colours."""
    assert (split.images == split.images[:, :, :1, :1]).all()
    return [tuple(c) for c in split.images[:, :, 0, 0].tolist()]


def test_every_file_goes_to_one_split_with_its_label(data_home, image_folder):
    root = image_folder(("cat", "dog"), train=20, test=3)
    data = load(root, image_size=8)
    assert data.name == f"imagefolder:{root}"
    assert data.key == f"imagefolder-{data.fingerprint[:12]}"
    assert data.classes == ("cat", "dog")
    for split, size in ((data.train, 36), (data.validation, 4), (data.test, 6)):
        assert split.images.shape == (size, 3, 8, 8)
        assert split.labels.bincount().tolist() == [size // 2] * 2
        assert [c[0] // 100 for c in colours(split)] == split.labels.tolist()
    expected = {(100 * label, 10 * k, 0) for label in (0, 1) for k in range(20)}
    assert set(colours(data.train)) | set(colours(data.validation)) == expected
    assert set(colours(data.test)) == {(100 * n, 10 * k, 255) for n in (0, 1) for k in range(3)}


def test_seed_decides_the_split(data_home, image_folder):
    root = image_folder(train=20)
    one, two = load(root, image_size=8, seed=0), load(root, image_size=8, seed=1)
    assert one.fingerprint != two.fingerprint
    assert set(colours(one.validation)) != set(colours(two.validation))
    assert one.validation.labels.tolist() == two.validation.labels.tolist()


def test_images_are_resized_and_of_three_channels(data_home, image_folder):
    root = image_folder(size=(50, 31))
    Image.new("L", (200, 7), 77).save(root / "train" / "cat" / "grey.jpg")
    Image.new("RGBA", (5, 9), (1, 2, 3, 4)).save(root / "train" / "cat" / "clear.webp", lossless=1)
    data = load(root, image_size=16)
    assert data.test.images.shape == (6, 3, 16, 16)
    everything = set(colours(data.train)) | set(colours(data.validation))
    assert (77, 77, 77) in everything


def test_grey_images_have_one_channel(data_home, image_folder):
    root = image_folder(size=(50, 31))
    Image.new("L", (200, 7), 77).save(root / "train" / "cat" / "grey.png")
    Image.fromarray(np.full((9, 9), 77 * 256, np.uint16)).save(root / "train" / "cat" / "deep.png")
    grey, again, rgb = (load(root, image_size=16, image_channels=c) for c in (1, 1, 3))
    assert again is grey
    assert grey.fingerprint != rgb.fingerprint
    assert torch.equal(grey.train.labels, rgb.train.labels)
    for name in ("train", "validation", "test"):
        images, colour = getattr(grey, name).images, getattr(rgb, name).images.float()
        assert images.shape == (len(colour), 1, 16, 16)
        # The luma of ITU-R 601, as Pillow computes it.
        luma = (colour * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)
        assert (images - luma).abs().max() <= 1
    for change in ({"image_channels": 2}, {"image_channels": 0}):
        with pytest.raises(DataError, match=r"must be 3 \(RGB\) or 1 \(grey\)"):
            load(root, **change)
    with pytest.raises(DataError, match=r"image_channels=1 is not supported: .*'shapes' are RGB"):
        load_dataset("shapes", image_channels=1)


def test_reduction_does_not_alias(data_home, image_folder):
    root = image_folder(size=(64, 64))
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(root / "test" / "cat" / "stripes.png")
    test = load(root, image_size=16).test.images.float()
    worst = (test - 127.5).abs().amax((1, 2, 3)).min()
    assert worst < 10, "stripes of one pixel did not become grey"


def test_decoded_once(data_home, image_folder, monkeypatch):
    root = image_folder()
    first = load(root, image_size=8)
    with monkeypatch.context() as patch:
        patch.setattr(imagefolder, "_decode", lambda *_: pytest.fail("decoded again"))
        again = imagefolder.load(root.resolve(), 8)
    assert torch.equal(again.train.images, first.train.images)
    changed = root / "test" / "cat" / "0.png"
    Image.new("RGB", (8, 8), (9, 9, 9)).save(changed)
    os.utime(changed, (1, 1))
    assert imagefolder.load(root.resolve(), 8).fingerprint != first.fingerprint


def test_missing_folders(data_home, tmp_path, image_folder):
    with pytest.raises(DataError, match=r"folder '.*nowhere' does not exist.*train/<class>"):
        load(tmp_path / "nowhere")
    with pytest.raises(DataError, match="imagefolder:PATH"):
        load_dataset("imagefolder")
    root = image_folder()
    (root / "test").rename(root / "tset")
    with pytest.raises(DataError, match=r"folder '.*test' does not exist"):
        load(root)


def test_empty_class(data_home, image_folder):
    root = image_folder()
    for path in (root / "test" / "dog").iterdir():
        path.rename(path.with_name("." + path.name))
    with pytest.raises(DataError, match=r"No images of dog in '.*test'"):
        load(root)


def test_classes_of_train_and_test_differ(data_home, image_folder):
    root = image_folder()
    (root / "test" / "dog").rename(root / "test" / "hog")
    with pytest.raises(DataError, match="dog, hog"):
        load(root)


def test_one_class_is_no_classification(data_home, image_folder):
    with pytest.raises(DataError, match="1 classes; at least 2 are needed"):
        load(image_folder(("cat",)))


def test_unreadable_files_are_counted_and_the_first_named(data_home, image_folder):
    root = image_folder()
    for k in range(5):
        (root / "train" / "cat" / f"bad{k}.png").write_bytes(b"not an image")
    good = (root / "train" / "dog" / "0.png").read_bytes()
    (root / "train" / "dog" / "0.png").write_bytes(good[:-30])
    (root / "train" / "dog" / "folder").mkdir()
    with pytest.raises(DataError, match=r"^7 of 32 files .*folder.*bad.\.png.*and 4 more"):
        load(root)
    assert not list(data_home.glob("data/*")), "a half-made cache was left"


@pytest.mark.parametrize("size", [0, 7, 32.0, "32"])
def test_bad_image_size(data_home, image_folder, size):
    with pytest.raises(DataError, match=f"not {size!r}"):
        load(image_folder(), image_size=size)


def test_stratified_order_keeps_the_shares_in_every_prefix():
    labels = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_order(labels, 0)
    assert sorted(order) == list(range(100))
    for n in range(1, 100):
        counts = np.bincount(labels[order[:n]], minlength=3)
        assert np.abs(counts - n * np.array([0.6, 0.3, 0.1])).max() <= 1.5
    assert (order != stratified_order(labels, 1)).any()
