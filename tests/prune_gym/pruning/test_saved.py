"""Saved networks can be loaded; damaged files are rejected with a message that names them."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prune_gym import networks
from prune_gym.errors import DamagedError, PruneGymError, WeightsError
from prune_gym.files import write_atomically, write_json
from prune_gym.manifest import seal
from prune_gym.pruning.saved import (
    DESCRIPTION,
    WEIGHTS,
    cut_to,
    load_network,
    load_network_into,
    save_network,
)
from prune_gym.weights import load_weights, save_weights, tensors_of
from tests.tiny import shake, tiny_network


def pruned(name="resnet20"):
    base = tiny_network() if name == "tiny" else networks.build(name)
    shake(base.module)
    rng = np.random.default_rng(0)
    kept = {
        space.name: np.sort(rng.choice(space.channels, space.channels // 2 + 1, replace=False))
        for space in base.spaces
    }
    return base, cut_to(base, kept), kept


@pytest.mark.float
@pytest.mark.parametrize("name", ["resnet20", "resnet20b", "plain20", "tiny"])
def test_round_trip(tmp_path, name):
    _, network, kept = pruned(name)
    save_network(tmp_path, network, kept, {"note": 1})
    again, same = load_network(tmp_path)
    images = torch.randn(2, *network.input_shape)
    with torch.no_grad():
        assert torch.equal(again.module.eval()(images), network.module.eval()(images))
    assert {space: indices.tolist() for space, indices in same.items()} == {
        space: indices.tolist() for space, indices in kept.items()
    }
    assert again.spaces == network.spaces
    assert json.loads((tmp_path / DESCRIPTION).read_text())["note"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "of schema 9, not 1"),
        ({"architecture": "resnet21"}, "Unknown network|another"),
        ({"spaces": {"nowhere": {"kept": [0]}}}, "no space 'nowhere'"),
        ({"spaces": {"layer1.0": {"kept": [3, 3]}}}, "must be sorted"),
        ({"spaces": {"layer1.0": {"kept": [99]}}}, "must be sorted"),
        ({"spaces": {"layer1.0": {}}}, "kept is missing"),
        ({"spaces": {"layer1.0": {"kept": [0]}}}, "do not fit"),
    ],
)
def test_wrong_descriptions_are_refused(tmp_path, change, message):
    _, network, kept = pruned()
    save_network(tmp_path, network, kept)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    write_json(tmp_path / DESCRIPTION, description | change)
    with pytest.raises(DamagedError, match="its checksum is not that of"):
        load_network(tmp_path)
    seal(tmp_path)
    with pytest.raises(Exception, match=message) as error:
        load_network(tmp_path)
    assert error.type.__module__ in ("prune_gym.errors", "prune_gym.trust")


def test_damaged_files_are_refused(tmp_path):
    base, network, kept = pruned()
    with pytest.raises(WeightsError, match="contains no saved network"):
        load_network(tmp_path)
    save_network(tmp_path, network, kept)
    whole = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged"):
        load_network_into(tmp_path, base)
    (tmp_path / DESCRIPTION).write_text("{")
    with pytest.raises(WeightsError, match="damaged"):
        load_network(tmp_path)


def test_weights_of_another_network_or_with_nan_are_refused(tmp_path):
    one, two = networks.build("resnet20").module, networks.build("resnet56").module
    path = save_weights(two, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="another network"):
        load_weights(one, path)
    before = {name: tensor.clone() for name, tensor in tensors_of(one).items()}
    bad = {name: tensor.clone() for name, tensor in before.items()}
    bad["linear.bias"][0] = float("nan")
    save_file(bad, path)
    with pytest.raises(WeightsError, match=r"NaN or infinity in 'linear.bias'"):
        load_weights(one, path)
    after = tensors_of(one)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_classes": 10**8}, "num_classes=100000000, but no tensor"),
        ({"input_shape": [3, 10**6, 10**6]}, r"input_shape\[1\]=1000000"),
        ({"input_shape": [3, 32]}, "input_shape"),
        ({"spaces": {"layer1.0": {"kept": [*range(5000)]}}}, "keeps 5000 channels, but no tensor"),
        ({"architecture": "x" * 10_000}, "Unknown network"),
    ],
)
def test_sizes_are_held_against_the_weights_before_anything_is_built(
    tmp_path, monkeypatch, change, message
):
    _, network, kept = pruned()
    save_network(tmp_path, network, kept)
    description = json.loads((tmp_path / DESCRIPTION).read_text())
    write_json(tmp_path / DESCRIPTION, description | change)
    seal(tmp_path)
    if "architecture" not in change:
        monkeypatch.setattr(networks, "build", lambda *_: pytest.fail("a network was built"))
    with pytest.raises(PruneGymError, match=message) as error:
        load_network(tmp_path)
    assert len(str(error.value)) < 600
