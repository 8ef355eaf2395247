import json

import numpy as np
import pytest
import torch

from prune_gym.data import store
from prune_gym.errors import DataError


def write(seed=0):
    labels = np.arange(12, dtype=np.int64) % 3
    contents = store.Contents(labels, (6, 3, 3), ("a", "b", "c"), (3, 8, 8))
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 3, 8, 8), dtype=np.uint8)
    return store.write("it", "it-{fingerprint}", "stem", contents, lambda out: out.__iadd__(pixels))


def read():
    return store.read("it", "it-{fingerprint}", "stem")


def test_what_is_written_is_read(data_home):
    assert read() is None
    written, opened = write(), read()
    assert opened.key == f"it-{opened.fingerprint[:12]}"
    assert opened.fingerprint == written.fingerprint
    assert opened.classes == ("a", "b", "c")
    assert [len(s) for s in (opened.train, opened.validation, opened.test)] == [6, 3, 3]
    assert torch.equal(opened.test.images, written.test.images)
    assert sorted(p.name for p in (data_home / "data").iterdir()) == [
        "stem.json",
        "stem.labels.npy",
        "stem.npy",
    ]


def test_writing_to_a_tensor_leaves_the_file_alone(data_home):
    write().train.images.zero_()
    assert read().train.images.any()


def test_fingerprint_covers_pixels_labels_classes_and_splits():
    labels, pixels = np.arange(4) % 2, np.zeros((4, 3, 8, 8), np.uint8)

    def fingerprint(pixels=pixels, labels=labels, sizes=(2, 1, 1), classes=("a", "b")):
        return store._fingerprint(pixels, store.Contents(labels, sizes, classes, (3, 8, 8)))

    variants = [
        fingerprint(),
        fingerprint(pixels=pixels + 1),
        fingerprint(labels=1 - labels),
        fingerprint(sizes=(1, 2, 1)),
        fingerprint(classes=("a", "c")),
    ]
    assert len(set(variants)) == 5


@pytest.mark.parametrize("name", ["stem.npy", "stem.labels.npy", "stem.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "garbage", "changed"])
def test_damage_is_found(data_home, name, damage):
    write()
    path = data_home / "data" / name
    content = path.read_bytes()
    changed = content[:-20] + bytes(b ^ 1 for b in content[-20:])
    new = {"empty": b"", "cut": content[:-9], "garbage": b"\x80junk" * 50, "changed": changed}
    path.unlink() if damage == "missing" else path.write_bytes(new[damage])
    assert read() is None


def test_a_copied_cache_is_verified_and_used(data_home):
    written = write()
    for path in (data_home / "data").glob("*.npy"):
        path.write_bytes(path.read_bytes())  # same bytes, new modification time
    assert read().fingerprint == written.fingerprint


def test_a_forged_record_is_no_data_set(data_home):
    write()
    path = data_home / "data" / "stem.json"
    record = json.loads(path.read_text())
    for wrong in ([], None, 3, record | {"sizes": [6, 3, 4]}, record | {"classes": 5}):
        path.write_text(json.dumps(wrong))
        assert read() is None


def test_unwritable_cache_names_the_variable(data_home):
    data_home.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="PRUNE_GYM_HOME"):
        write()
