"""Frozen layers are pruned and repaired, but not trained."""

import numpy as np
import pytest
import torch

from prune_gym.alf.convert import convertible, to_alf
from prune_gym.alf.options import ALFOptions
from prune_gym.envs import PruningEnv
from prune_gym.training import TrainingOptions, train
from tests.tiny import shake, tiny_dataset, tiny_network, tiny_residual

SETTINGS = {"eval_images": 32, "repair_images": 32, "batch_size": 32, "max_epochs": 0.5}


def frozen(*layers):
    network = tiny_network()
    shake(network.module)
    for name in layers:
        network.module.get_submodule(name).requires_grad_(False)
    return network


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("recovery", ["none", "lsq"])
def test_frozen_layers_stay_frozen(recovery, fast):
    network = frozen("first", "norm", "second")
    env = PruningEnv(network, tiny_dataset(), recovery=recovery, fast=fast, threads=1, **SETTINGS)
    env.reset(seed=0)
    mask = np.array([1, 0, 1, 1, 0, 1], np.int8)
    env.step({"mask": mask, "duration": np.ones(1, np.float32)})
    module, old, kept = env.network.module, network.module, torch.from_numpy(np.flatnonzero(mask))
    for name, parameter in module.named_parameters():
        layer = name.split(".")[0]
        assert parameter.requires_grad is (layer not in ("first", "norm", "second"))
    assert torch.equal(module.first.weight, old.first.weight[kept])
    assert torch.equal(module.norm.weight, old.norm.weight[kept])
    assert torch.equal(module.norm.running_mean, old.norm.running_mean[kept])
    # The repair refits what reads the cut channels; nothing else changes it.
    assert torch.equal(module.second.weight, old.second.weight[:, kept]) is (recovery == "none")
    assert not torch.equal(module.depthwise.weight, old.depthwise.weight[kept])
    assert not torch.equal(module.head.weight, old.head.weight)


def test_a_network_that_is_frozen_as_a_whole_is_refused():
    network = frozen("")
    with pytest.raises(ValueError, match="all parameters of the network are frozen"):
        PruningEnv(network, tiny_dataset(), threads=1, **SETTINGS)
    before = [parameter.clone() for parameter in network.module.parameters()]
    train(network.module, tiny_dataset().train, 1, torch.Generator(), TrainingOptions())
    for old, parameter in zip(before, network.module.parameters(), strict=True):
        assert torch.equal(old, parameter)


def test_a_frozen_convolution_becomes_no_block():
    network = tiny_residual()
    network.module.inner.requires_grad_(False)
    assert convertible(network.module) == ["stem", "outer", "down"]
    with pytest.raises(ValueError, match="layer 'inner': ALF does not support frozen weights"):
        to_alf(network, ["inner"], ALFOptions())
