"""Derived spaces are cut as they are masked, and say what they cannot prune."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prune_gym import networks
from prune_gym.pruning import (
    ChannelMap,
    ChannelSpace,
    Geometry,
    cut_spaces,
    dense,
    derive,
    masked,
    verify_spaces,
)
from prune_gym.pruning.tracing import TraceError
from prune_gym.pruning.verify import SpacesError, random_masks
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


class Forward(nn.Module):
    """A convolution of 16 filters, a convolution of 8 and a dense layer in any forward pass."""

    def __init__(self, forward, features=16):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3)
        self.b = nn.Conv2d(8, 8, 1)
        self.l = nn.Linear(features, 5)
        self._forward = forward

    def forward(self, x):
        return self.l(self._forward(self, x).mean((2, 3)))


def swapped(x):
    return torch.cat([x[:, 8:], x[:, :8]], 1)


def gated_in_place(self, x):
    x = self.a(x).relu()
    first, second = x.chunk(2, 1)
    first *= torch.sigmoid(self.b(second)) * 3
    return x


def copied_before_a_change(self, x):
    x = self.a(x)
    n, c, h, w = x.shape
    y = x.view(n, 4, 4, h, w).transpose(1, 2).contiguous()
    z = x.clamp_(0, 6)
    return torch.cat([y.view(n, c, h, w), z], 1)


@pytest.mark.parametrize(
    ("forward", "features"), [(gated_in_place, 16), (copied_before_a_change, 32)]
)
def test_a_rewrite_that_changes_the_outputs_is_not_used(forward, features):
    network = Forward(forward, features).eval()
    found = derive(network, SHAPE)
    assert found.module is network
    assert found.spaces == ()
    assert "others see a part" in next(f.reason for f in found.fixed if f.layer == "a")


def test_hooks_of_the_network_itself_are_kept():
    network = Forward(lambda self, x: swapped(self.a(x))).eval()
    assert [space.name for space in derive(network, SHAPE).spaces] == ["a", "a#2"]
    network.register_forward_pre_hook(lambda module, args: ((args[0] - 0.5) * 4,))
    found = derive(network, SHAPE)
    assert found.module is network
    assert "forward hooks" in found.fixed[0].reason


class OffAtTheEnd(nn.Module):
    """Dropout as a function, a constant size, and a space that fails the verification."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, 4)
        self.d = nn.Conv2d(16, 16, 1)
        self.l = nn.Linear(256, 5)

    def forward(self, x):
        x = nn.functional.dropout(self.a(x).relu(), 0.5, self.training)
        y = self.d(x / x.size(1)).relu()
        return self.l(y.view(y.size(0), -1))


def test_an_optional_rewrite_does_not_switch_dropout_off():
    network = OffAtTheEnd().train()
    module = derive(network, SHAPE).module.train()
    images = torch.randn(2, *SHAPE)
    assert not torch.equal(module(images), module(images))


class Writes(nn.Module):
    """A forward pass that makes a tensor, keeps an activation and has a frozen norm."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3)
        self.n = nn.BatchNorm2d(16)
        self.l = nn.Linear(16, 5)

    def forward(self, x):
        x = self.n(self.a(x * torch.tensor([1.0, 2.0, 3.0]).view(3, 1, 1)))
        self.seen = swapped(x)
        return self.l(self.seen.mean((2, 3)))


def test_a_derivation_leaves_the_network_as_it_was():
    network = Writes().train()
    network.n.eval()
    before = set(vars(network))
    for _ in range(2):
        found = derive(network, SHAPE)
        assert [space.name for space in found.spaces] == ["a", "a#2"]
        assert set(vars(network)) == before
        assert network.training
        assert not network.n.training
    copy.deepcopy(found.module)
    images = torch.randn(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(found.module.eval()(images), network.eval()(images))


def test_a_network_that_cannot_be_copied_is_named():
    network = Writes()
    network(torch.randn(2, *SHAPE))
    with pytest.raises(ValueError, match="'seen' is the result of a forward pass"):
        derive(network, SHAPE)


@pytest.mark.parametrize(
    ("network", "what"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3, device="meta")), "meta device"),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ParameterList([torch.zeros(0)])), "empty"),
    ],
)
def test_parameters_without_values_are_named(network, what):
    with pytest.raises(ValueError, match=what):
        derive(network, SHAPE)


def test_the_other_arguments_keep_their_defaults():
    class Optional(Forward):
        def forward(self, x, mask=None, temperature=2.0):
            if mask is not None:
                x = x * mask
            return super().forward(x) / temperature

    network = Optional(lambda self, x: self.a(x).relu())
    found = derive(network, SHAPE)
    assert [space.name for space in found.spaces] == ["a"]
    check_cuts(network, found.spaces, SHAPE, {"a": np.arange(16) % 3 == 0})


KEPT = {
    "squeeze": lambda self, x: nn.functional.adaptive_avg_pool2d(self.a(x), 1).squeeze()[
        ..., None, None
    ],
    "type_as": lambda self, x: self.a(x).type_as(x),
    "to": lambda self, x: (y := self.a(x)) * torch.sigmoid(y.mean((2, 3), keepdim=True)).to(y),
    "max": lambda self, x: torch.max(y := self.a(x), y.neg()),
    "axis": lambda self, x: (y := self.a(x)) * y.mean(axis=3, keepdim=True),
    "masked_fill": lambda self, x: (y := self.a(x)).masked_fill((y < 0) & (y > -1), 0.5),
    "zeros_like": lambda self, x: torch.where((y := self.a(x)) > 0, y, torch.zeros_like(y)),
    "keyword": lambda self, x: self.a(input=x),
}


@pytest.mark.parametrize("name", KEPT)
def test_calls_that_keep_channels_apart(name):
    network = Forward(KEPT[name]).eval()
    found = derive(network, SHAPE)
    assert [space.name for space in found.spaces] == ["a"]
    for mask in (np.arange(16) % 3 == 0, np.arange(16) == 3):
        check_cuts(found.module, found.spaces, SHAPE, {"a": mask})


@pytest.mark.parametrize(
    "call",
    [lambda x: nn.functional.max_pool2d(x, (2, 1)), lambda x: nn.functional.pad(x, (0, 0, -4, -4))],
)
def test_pools_over_channels_keep_them_whole(call):
    network = Forward(lambda self, x: call(self.a(x).flatten(2))[..., None], 8)
    assert derive(network, SHAPE).spaces == ()


class Eca(nn.Module):
    """A gate that is convolved along the channels, steep enough to saturate."""

    def __init__(self):
        super().__init__()
        self.c = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x):
        gate = torch.sigmoid(20 * self.c(x.mean((2, 3))[:, None]))
        return x * gate.transpose(1, 2)[..., None]


def test_a_gate_that_random_scales_saturate_is_found():
    layers = [nn.Conv2d(3, 16, 3), nn.ReLU(), Eca(), nn.Conv2d(16, 8, 3)]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    with pytest.raises(SpacesError, match="differs"):
        verify_spaces(network, [ChannelSpace("a", 16, ("0",), ("3",))], SHAPE)
