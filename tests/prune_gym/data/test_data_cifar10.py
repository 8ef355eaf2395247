import numpy as np
import pytest
import torch

from prune_gym.data import cifar10, load_dataset
from prune_gym.errors import DataError


class NoNetwork:
    """Replacement for ``torchvision.datasets.utils``."""

    @staticmethod
    def download_and_extract_archive(*args, **kwargs):
        raise OSError("no route to host")


@pytest.mark.parametrize("levels", [0, 1])
def test_binary_files_become_three_splits(data_home, tiny_cifar, levels):
    root = tiny_cifar.parents[levels - 1] if levels else tiny_cifar
    data = load_dataset(f"cifar10:{root}")
    assert (data.name, data.key) == (f"cifar10:{root}", "cifar10")
    assert data.classes[3] == "cat"
    sizes = [len(s) for s in (data.train, data.validation, data.test)]
    assert sizes == [180, 20, 40]
    assert data.validation.labels.bincount().tolist() == [2] * 10
    source = np.concatenate([np.fromfile(tiny_cifar / f, np.uint8) for f in cifar10.TRAIN])
    source = {row[1:].tobytes(): row[0] for row in source.reshape(-1, 3073)}
    images = torch.cat([data.train.images, data.validation.images])
    labels = torch.cat([data.train.labels, data.validation.labels])
    assert [source.pop(i.numpy().tobytes()) for i in images] == labels.tolist()
    assert not source


def test_root_and_name_are_the_same_data(data_home, tiny_cifar):
    by_root = load_dataset("cifar10", root=tiny_cifar)
    assert by_root is load_dataset(f"cifar10:{tiny_cifar}")
    assert load_dataset("cifar10", root=tiny_cifar, seed=1).fingerprint != by_root.fingerprint


def test_downloaded_files_are_used(data_home, tiny_cifar):
    target = data_home / "data" / "cifar10"
    target.parent.mkdir(parents=True)
    tiny_cifar.parent.rename(target)
    assert load_dataset("cifar10").name == "cifar10"


def test_download_is_verified_and_no_network_is_explained(data_home, monkeypatch):
    monkeypatch.setattr(cifar10, "dataset_utils", lambda: NoNetwork)
    with pytest.raises(DataError, match=r"no route to host.*cifar10:PATH.*imagefolder:PATH"):
        load_dataset("cifar10")

    def download(url, root, md5, remove_finished):
        assert (url, md5) == (cifar10.URL, cifar10.MD5)
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(NoNetwork, "download_and_extract_archive", staticmethod(download))
    with pytest.raises(DataError, match="corrupted"):
        load_dataset("cifar10")


def test_folder_without_it(data_home, tmp_path):
    with pytest.raises(DataError, match="does not contain cifar-10-batches-bin"):
        load_dataset(f"cifar10:{tmp_path}")
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(DataError, match="an unsafe pickle"):
        load_dataset(f"cifar10:{tmp_path}")


def test_files_of_another_size(data_home, tiny_cifar):
    path = tiny_cifar / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_3.bin' has 122919 bytes instead of 122920"):
        load_dataset("cifar10", root=tiny_cifar)
    path.unlink()
    with pytest.raises(DataError, match="has 0 bytes"):
        load_dataset("cifar10", root=tiny_cifar)


def test_label_out_of_range(data_home, tiny_cifar):
    path = tiny_cifar / "data_batch_1.bin"
    path.write_bytes(b"\x0b" + path.read_bytes()[1:])
    with pytest.raises(DataError, match="contains label 11"):
        load_dataset("cifar10", root=tiny_cifar)


def test_other_sizes_are_refused(data_home):
    with pytest.raises(DataError, match="image_size=64 is not supported"):
        load_dataset("cifar10", image_size=64)
