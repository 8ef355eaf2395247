"""Derived spaces are cut as they are masked, and say what they cannot prune."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prune_gym import networks
from prune_gym.pruning import ChannelMap, Geometry, cut_spaces, dense, derive, masked
from prune_gym.pruning.tracing import TraceError
from prune_gym.pruning.verify import random_masks
from tests.prune_gym.pruning.patterns import SHAPE, Net, around, conv, patterns
from tests.tiny import shake

PATTERNS = patterns()
NAMES = ("resnet20", "resnet56", "resnet20b", "resnet56b", "plain20")


def counted_macs(module, shape):
    """MACs by torch's own counter."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            copy.deepcopy(module).eval()(torch.zeros(1, *shape))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops() // 2


def check_cuts(module, spaces, shape, masks, read=True):
    """A cut network equals the masked one, and costs what the geometry says.

    ``read``: whether the logits depend on the masked channels.
    """
    module = shake(copy.deepcopy(module)).double()
    images = torch.randn(3, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        cut = dense(module, spaces, masks)
        found, expected = cut(images), masked(module, spaces, masks)(images)
        assert not read or not torch.allclose(expected, module(images))
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))
    geometry = Geometry(module, spaces, shape)
    counts = {name: int(np.sum(mask)) for name, mask in masks.items()}
    assert geometry.params(counts) == sum(p.numel() for p in cut.parameters())
    assert geometry.macs(counts) == counted_macs(cut.float(), shape)
    again = Geometry(cut, cut_spaces(spaces, masks), shape)
    assert again.accelerator_layers() == geometry.accelerator_layers(counts)
    assert sum(layer.macs for layer in again.accelerator_layers()) == again.macs()


@pytest.mark.parametrize("name", PATTERNS)
def test_each_pattern_is_derived_and_cut(name):
    module, sizes = PATTERNS[name]
    found = derive(module, SHAPE)
    assert [space.channels for space in found.spaces] == sizes
    for seed in range(2 if sizes else 0):
        check_cuts(found.module, found.spaces, SHAPE, random_masks(found.spaces, seed))
    for space in found.spaces:
        check_cuts(found.module, found.spaces, SHAPE, random_masks([space], 5))


@pytest.mark.parametrize("name", PATTERNS)
def test_two_cuts_equal_one(name):
    found = derive(PATTERNS[name][0], SHAPE)
    images = torch.randn(2, *SHAPE)
    first = random_masks(found.spaces, 1)
    spaces = cut_spaces(found.spaces, first)
    second = random_masks([s for s in spaces if s.channels > 1], 2)
    both = {key: np.array(mask) for key, mask in first.items()}
    for key, mask in second.items():
        both[key][np.flatnonzero(both[key])[~np.asarray(mask)]] = False
    network = shake(copy.deepcopy(found.module))
    with torch.no_grad():
        twice = dense(dense(network, found.spaces, first), spaces, second)(images)
        assert torch.equal(twice, dense(network, found.spaces, both)(images))


@pytest.mark.parametrize("name", NAMES)
def test_the_spaces_of_the_built_in_networks_are_those_written_by_hand(name):
    def members(spaces):
        return {
            (s.channels, frozenset(s.producers), frozenset(s.consumers), frozenset(s.followers))
            for s in spaces
        }

    network = networks.build(name)
    found = derive(network.module, network.input_shape)
    assert found.module is network.module
    assert members(found.spaces) == members(network.spaces)
    assert not any(space.places for space in found.spaces)


def test_the_reason_is_given_for_what_stays_whole():
    def reasons(module):
        return {fixed.layer: fixed.reason for fixed in derive(module, SHAPE).fixed}

    assert reasons(around(nn.Softmax2d())) == {
        "a": "no rule for Softmax2d 'mid'",
        "fc": "the network's output",
    }
    assert reasons(PATTERNS["between: parameter"][0])["a"] == (
        "combined with fixed channels by 'mul' in 'mid'"
    )
    assert reasons(PATTERNS["tied weights"][0])["b"] == "the layer shares its weights with 'c'"
    unused = around(nn.Identity())
    unused.extra = conv(3, 5)
    assert reasons(unused)["extra"] == "not called as a layer"


def test_a_network_is_only_rewritten_where_channels_are_selected_by_number():
    plain, rewritten = PATTERNS["flatten"][0], PATTERNS["between: shuffle"][0]
    assert derive(plain, SHAPE).module is plain
    found = derive(rewritten.train(), SHAPE)
    assert found.module is not rewritten
    assert found.module.training
    assert any(isinstance(module, ChannelMap) for module in found.module.modules())
    assert found.module.state_dict().keys() == rewritten.state_dict().keys()
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(found.module.eval()(images), rewritten.eval()(images))


def test_channels_stay_if_they_are_selected_by_number_and_training_differs():
    def forward(self, x):
        first, second = self.a(x).sigmoid().chunk(2, 1)
        return self.fc((self.b(first) + (2 * second if self.training else second)).mean((2, 3)))

    module = Net(forward, a=conv(3, 8), b=conv(4, 4), fc=nn.Linear(4, 4))
    found = derive(module, SHAPE)
    assert found.module is module
    assert "other calls in training" in found.fixed[0].reason


def test_a_forward_that_cannot_be_traced_is_refused():
    module = Net(lambda self, x: self.a(x if x.sum() > 0 else -x).mean((2, 3)), a=conv(3, 4))
    with pytest.raises(TraceError, match=r"cannot be traced.*declare the spaces by hand"):
        derive(module, SHAPE)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "no parameters"),
        (nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten()), "'0.weight' of a lazy module"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_a_network_without_weights_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        derive(module, SHAPE)


def test_weights_and_modes_do_not_change():
    module = around(nn.BatchNorm2d(16)).train()
    module.mid.eval()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    derive(module, SHAPE)
    assert module.training
    assert not module.mid.training
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
