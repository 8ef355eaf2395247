"""A network in which layers share weights is pruned elsewhere, trained, saved and loaded."""

import numpy as np
import pytest
import torch
from torch import nn

from prune_gym.envs import PruningEnv
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.graph import ProgramError
from prune_gym.pruning.saved import load_network
from tests.tiny import tiny_dataset

SETTINGS = {"eval_images": 64, "repair_images": 64, "batch_size": 32, "threads": 1}


class Shared(nn.Module):
    """Two convolutions between others have one weight."""

    def __init__(self):
        super().__init__()
        self.stem, self.once = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1)
        self.again, self.last = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 12, 3)
        self.head = nn.Linear(12, 4)
        self.again.weight = self.once.weight

    def forward(self, x):
        x = self.again(self.once(self.stem(x).relu()).relu()).relu()
        return self.head(self.last(x).relu().mean((2, 3)))


def shared_network(num_classes=4, image_size=8):
    """Built by name: 'tests.prune_gym.networks.test_shared_weights:shared_network'."""
    spaces = (ChannelSpace("last", 12, ("last",), ("head",)),)
    shape = (3, image_size, image_size)
    return Network(f"{__name__}:shared_network", Shared(), spaces, shape, num_classes)


@pytest.mark.float
@pytest.mark.parametrize("fast", [True, False])
def test_it_is_pruned_trained_and_loaded(tmp_path, fast):
    env = PruningEnv(shared_network(), tiny_dataset(), fast=fast, max_epochs=0.5, **SETTINGS)
    assert env.baseline.costs.of().params == sum(p.numel() for p in Shared().parameters())
    env.reset(seed=0)
    before = env.network.module.once.weight.clone()
    env.step({"mask": np.arange(12) < 7, "duration": np.ones(1, np.float32)})
    module = env.network.module
    assert module.again.weight is module.once.weight
    assert not torch.equal(module.once.weight, before)
    env.export(tmp_path)
    loaded = load_network(tmp_path)[0].module.eval()
    assert loaded.again.weight is loaded.once.weight
    images = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded(images), module(images))


def test_each_shared_parameter_is_updated_once():
    """The suffix of the network lists a parameter with each of its layers."""
    from prune_gym.training import Sgd, TrainingOptions

    one, two = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    for given in ([one], [two, two]):
        optimizer = Sgd(given, TrainingOptions(weight_decay=0.0))
        for _ in range(2):
            given[0].grad = torch.ones(2, 2)
            optimizer.step(0.1)
    assert torch.equal(one, two)


def test_training_of_a_suffix_alone_is_refused():
    with pytest.raises(ProgramError, match=r"'again.weight' and 'once.weight' are one parameter"):
        PruningEnv(shared_network(), tiny_dataset(), tune="suffix", **SETTINGS)
