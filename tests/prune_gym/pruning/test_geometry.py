"""Closed-form costs equal counted costs and published costs."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prune_gym import networks
from prune_gym.pruning import Geometry, cut_spaces, dense, derive
from tests.prune_gym.pruning.test_cut import NAMES, random_masks
from tests.tiny import tiny_network

PUBLISHED = {
    "resnet20": (269_722, 40_551_040),
    "resnet56": (853_018, 125_485_696),
    "resnet20b": (272_474, 40_813_184),
    "resnet56b": (855_770, 125_747_840),
    "plain20": (269_722, 40_551_040),
}


def counted_macs(module, shape):
    """Independent oracle: multiply-accumulates from weights and output maps."""
    total = 0

    def count(layer, inputs, output):
        nonlocal total
        pixels = output[0, 0].numel() if output.dim() == 4 else 1
        total += layer.weight.numel() * pixels

    handles = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    for handle in handles:
        handle.remove()
    return total


def make(name):
    return tiny_network() if name == "tiny" else networks.build(name)


@pytest.mark.parametrize("name", NAMES)
def test_published_sizes(name):
    network = networks.build(name)
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    assert (geometry.params(), geometry.macs()) == PUBLISHED[name]


def test_resnet20_has_the_spaces_of_the_papers():
    spaces = networks.build("resnet20").spaces
    inner = [space for space in spaces if not space.tied]
    assert (len(inner), len(spaces) - len(inner)) == (9, 3)
    assert sum(space.channels for space in spaces) == 448
    assert sum(space.channels for space in inner) == 336


@pytest.mark.parametrize("name", [*NAMES, "tiny"])
def test_closed_form_equals_the_cut_network(name):
    network = make(name)
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    masks = random_masks(network.spaces, 5)
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    module = dense(network.module, network.spaces, masks)
    assert geometry.params(counts) == sum(p.numel() for p in module.parameters())
    assert geometry.macs(counts) == counted_macs(module, network.input_shape)
    again = Geometry(module, cut_spaces(network.spaces, masks), network.input_shape)
    assert again.accelerator_layers() == geometry.accelerator_layers(counts)


def test_tracing_leaves_the_network_alone():
    network = tiny_network()
    network.module.train()
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    Geometry(network.module, network.spaces, network.input_shape)
    assert network.module.training
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_unknown_networks_are_refused_with_a_hint():
    with pytest.raises(ValueError, match="Did you mean 'resnet20'"):
        networks.build("resnet2O")
    with pytest.raises(ValueError, match="Unknown network"):
        networks.build("tests.tiny:nothing")
    assert networks.build("tests.tiny:tiny_network", 4, 8).num_classes == 4
    with pytest.raises(ValueError, match="already registered"):
        networks.register("resnet20", lambda classes, size: tiny_network())


def test_counts_default_to_full():
    network = networks.build("resnet20")
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    half = {space.name: space.channels // 2 for space in network.spaces}
    assert np.isclose(geometry.macs() / geometry.macs(half), 4, rtol=0.05)
    assert geometry.counts({"trunk1": 3})["trunk1"] == 3


class Windows(nn.Module):
    """Windows of tokens and groups of channels in the batch, as in Swin and SA-Net."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, padding=1)
        self.f = nn.Linear(16, 64)
        self.g = nn.Linear(64, 16)
        self.c = nn.Conv2d(8, 8, 3, padding=1)
        self.l = nn.Linear(16, 5)

    def forward(self, x):
        x = self.a(x)
        n = x.shape[0]
        w = x.permute(0, 2, 3, 1).reshape(n, 4, 4, 4, 4, 16).transpose(2, 3).reshape(-1, 16, 16)
        w = self.g(self.f(w).relu()).view(n, 4, 4, 4, 4, 16).transpose(2, 3)
        w = w.reshape(n, 16, 16, 16).permute(0, 3, 1, 2).reshape(n * 2, 8, 16, 16)
        return self.l(self.c(w).reshape(n, 16, 16, 16).mean((2, 3)))


class Lora(nn.Linear):
    """A dense layer with a correction of low rank."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs)
        self.down = nn.Parameter(torch.randn(inputs, 8))
        self.up = nn.Parameter(torch.randn(8, outputs))

    def forward(self, x):
        return nn.functional.linear(x, self.weight, self.bias) + x @ self.down @ self.up


class Difference(nn.Conv2d):
    """A central-difference convolution."""

    def forward(self, x):
        center = self.weight.sum((2, 3), keepdim=True)
        return super().forward(x) - 0.7 * nn.functional.conv2d(x, center)


def subclasses():
    return nn.Sequential(
        *(Difference(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), Lora(8, 16), nn.ReLU(), nn.Linear(16, 5)),
    )


@pytest.mark.parametrize("make", [Windows, subclasses])
def test_all_products_of_an_image_are_counted(make):
    network, shape = make().eval(), (3, 16, 16)
    found = derive(network, shape)
    geometry = Geometry(found.module, found.spaces, shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, *shape))
    assert geometry.macs() == counter.get_total_flops() // 2
    assert sum(layer.macs for layer in geometry.accelerator_layers()) == geometry.macs()
    assert geometry.params() == sum(parameter.numel() for parameter in network.parameters())


def test_layers_of_other_classes_are_listed():
    fixed = {f.layer: f for f in derive(subclasses(), (3, 16, 16)).fixed}
    assert fixed["0"].channels == fixed["5"].channels == 16
    assert "Difference" in fixed["0"].reason
