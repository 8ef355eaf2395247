"""Blocks become equivalent plain layers; such networks can be costed, saved, loaded, exported."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch

from prune_gym.alf import ALFOptions, blocks, convertible, deploy, pays, to_alf
from prune_gym.alf.convert import pair_up
from prune_gym.errors import WeightsError
from prune_gym.export import Normalized, export_network
from prune_gym.pruning import Geometry, check_spaces, cut_spaces, dense, masked
from prune_gym.pruning.graph import Program
from prune_gym.pruning.saved import load_network, load_network_into, save_network
from tests.tiny import shake, tiny_dataset, tiny_residual

pytestmark = pytest.mark.float

LAYERS = ["stem", "inner", "outer", "down"]


def images():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def made(pr_max=0.75, steps=150):
    network = tiny_residual()
    shake(network.module)
    module = to_alf(network, None, ALFOptions(pr_max=pr_max)).eval()
    for block in blocks(module).values():
        for _ in range(steps):
            block.autoencoder_step()
        with torch.no_grad():
            # Imitate an expansion that the task player has trained.
            block.expansion.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    return network, module


@torch.no_grad()
def largest(one, other, x):
    return float((one(x) - other(x)).abs().max())


def test_all_dense_convolutions_are_taken():
    assert convertible(tiny_residual().module) == LAYERS


def test_pairs_compute_what_the_blocks_did():
    network, module = made()
    deployed = deploy(module, network)
    assert not blocks(deployed.module)
    assert largest(module, deployed.module, images()) < 1e-5
    paired = [
        name
        for name in LAYERS
        if isinstance(deployed.module.get_submodule(name), torch.nn.Sequential)
    ]
    assert len(paired) >= 2
    check_spaces(deployed.module, deployed.spaces)
    assert {s.name for s in deployed.spaces} - {s.name for s in network.spaces} == {
        f"{name}.code" for name in paired
    }


def test_what_does_not_pay_is_multiplied_back():
    network, module = made(pr_max=0.1)
    deployed = deploy(module, network)
    assert largest(module, deployed.module, images()) < 1e-5
    assert deployed.spaces == network.spaces
    full = Geometry(network.module, network.spaces, network.input_shape)
    now = Geometry(deployed.module, deployed.spaces, deployed.input_shape)
    assert (now.params(), now.macs()) == (full.params(), full.macs())


@pytest.mark.parametrize("pr_max", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
def test_a_network_never_becomes_dearer(pr_max):
    network, module = made(pr_max)
    deployed = deploy(module, network)
    full = Geometry(network.module, network.spaces, network.input_shape)
    now = Geometry(deployed.module, deployed.spaces, deployed.input_shape)
    assert now.params() <= full.params()
    assert now.macs() <= full.macs()
    assert now.params() == sum(p.numel() for p in deployed.module.parameters())


@pytest.mark.parametrize(
    ("shape", "floor"), [((3, 16), 10), ((16, 16), 14), ((16, 32), 26), ((32, 32), 28),
                         ((32, 64), 52), ((64, 64), 57)]
)  # fmt: skip
def test_break_even_of_resnet20(shape, floor):
    conv = torch.nn.Conv2d(*shape, 3)
    assert pays(conv, floor)
    assert not pays(conv, floor + 1)


def test_saved_networks_load(tmp_path):
    network, module = made()
    deployed = deploy(module, network)
    kept = {s.name: np.arange(s.channels) for s in deployed.spaces}
    save_network(tmp_path, deployed, kept)
    loaded = load_network_into(tmp_path, network)
    assert largest(deployed.module, loaded.module, images()) == 0
    assert loaded.spaces == deployed.spaces
    by_name, found = load_network(tmp_path)
    assert largest(deployed.module, by_name.module.eval(), images()) == 0
    assert set(found) == set(kept)


def test_filters_are_pruned_behind_alf_and_saved(tmp_path):
    network, module = made()
    deployed = deploy(module, network)
    rng = np.random.default_rng(0)
    masks = {}
    for space in deployed.spaces:
        mask = rng.random(space.channels) < 0.6
        mask[0] = True
        masks[space.name] = mask
    small = dense(deployed.module, deployed.spaces, masks)
    silent = masked(deployed.module, deployed.spaces, masks)
    assert largest(small, silent, images()) < 1e-4
    cut = replace(deployed, module=small, spaces=cut_spaces(deployed.spaces, masks))
    save_network(tmp_path, cut, {name: np.flatnonzero(mask) for name, mask in masks.items()})
    assert largest(load_network_into(tmp_path, network).module, small, images()) == 0


def test_damaged_code_spaces_are_refused(tmp_path):
    network, module = made()
    deployed = deploy(module, network)
    kept = {s.name: np.arange(s.channels) for s in deployed.spaces}
    save_network(tmp_path, deployed, kept | {"nothing.code": np.arange(3)})
    with pytest.raises(WeightsError, match=r"nothing\.code"):
        load_network_into(tmp_path, network)
    with pytest.raises(ValueError, match="at least 1"):
        pair_up(network, {"inner.code": 0})


def test_exported_networks_run(tmp_path):
    network, module = made()
    deployed = deploy(module, network)
    kept = {s.name: np.arange(s.channels) for s in deployed.spaces}
    export_network(tmp_path, deployed, kept, tiny_dataset().test)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (logits,) = session.run(None, {"images": images().numpy()})
    with torch.no_grad():
        wanted = Normalized(deployed.module, deployed.normalize)(images())
    assert np.allclose(logits, wanted.numpy(), atol=1e-4)


def test_deployed_networks_can_be_taken_into_calls():
    network, module = made()
    deployed = deploy(module, network)
    program = Program(deployed.module, deployed.spaces, images())
    assert program is not None
