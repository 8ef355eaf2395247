"""Networks as data: the same outputs and spaces, without the source; nothing else is read."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from prune_gym import networks
from prune_gym.networks import Network
from prune_gym.pruning import cut_spaces, dense, derive
from prune_gym.pruning.as_data import NetworkData, NoDataError, from_data, to_data
from prune_gym.pruning.saved import load_network, save_network
from prune_gym.pruning.verify import random_masks
from prune_gym.torchvision_import import models
from tests.tiny import shake, tiny_network

SHAPE = (3, 32, 32)


class Mixed(nn.Module):
    """Functions, methods, loose parameters, in-place operations, a layer called twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.twice = nn.Conv2d(8, 8, 3, padding="same", padding_mode="reflect", bias=False)
        self.scale = nn.Parameter(torch.rand(1, 8, 1, 1))
        self.register_buffer("shift", torch.rand(1))
        self.norm = nn.GroupNorm(2, 8)
        self.head = nn.Linear(8, 5)
        self.head.bias = nn.Parameter(torch.rand(5))

    def forward(self, x):
        x = functional.relu(self.first(x), inplace=True)
        x = self.twice(self.twice(x))
        x += self.scale
        x = self.norm(torch.cat([x[:, :4], x[:, 4:].sigmoid_()], dim=1)) * self.shift
        x = functional.max_pool2d(x, 2).mean((-2, -1))
        return self.head(x.view(x.shape[0], -1))


def through_json(module, spaces):
    text = json.dumps(to_data(module, spaces).to_json(), allow_nan=False)
    return from_data(NetworkData.from_json(json.loads(text), "here"))


def check(module, spaces, shape):
    made, again = through_json(module, spaces)
    assert again == tuple(spaces)
    made.load_state_dict(module.state_dict())
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(made.eval()(images), module.eval()(images))
        made.train()(images)
    return made


@pytest.mark.parametrize("name", ["resnet20", "vgg16_quarter", "mobilenetv2_half"])
def test_built_in_networks_are_the_same_after_a_cut(name):
    network = networks.build(name)
    shake(network.module)
    masks = random_masks(network.spaces, 0)
    cut = dense(network.module, network.spaces, masks)
    check(cut, cut_spaces(network.spaces, masks), SHAPE)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "shufflenet_v2_x0_5", "efficientnet_b0"])
def test_torchvisions_models_are_the_same_after_a_cut(name):
    found = derive(models().get_model(name, weights=None).eval(), SHAPE)
    masks = random_masks(found.spaces, 0)
    made = check(dense(found.module, found.spaces, masks), cut_spaces(found.spaces, masks), SHAPE)
    if name == "mobilenet_v3_small":
        again = derive(made, SHAPE)
        assert [space.channels for space in again.spaces] == [
            space.channels for space in cut_spaces(found.spaces, masks)
        ]


def test_functions_methods_loose_tensors_and_shared_layers():
    module = Mixed().eval()
    found = derive(module, SHAPE)
    made = check(found.module, found.spaces, SHAPE)
    assert isinstance(made.scale, nn.Parameter)
    assert not isinstance(made.shift, nn.Parameter)


class Tripled(nn.Module):
    """Calls a function that is not torch's."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.fft.fft(self.conv(x).mean((2, 3))).real)


def test_what_cannot_be_written_is_named_and_saved_without_data(tmp_path):
    with pytest.raises(NoDataError, match="fft"):
        to_data(Tripled(), ())
    with pytest.raises(NoDataError, match="'0' is of class MultiheadAttention"):
        to_data(nn.Sequential(nn.MultiheadAttention(4, 2)), ())
    network = Network("mine:make", Tripled(), (), (3, 8, 8), 2)
    save_network(tmp_path, network, {})
    assert not (tmp_path / "graph.json").exists()
    with pytest.raises(Exception, match=r"not saved as data: .*fft.*--trust mine:make"):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["calls"][1].update(target="nowhere"), "nowhere"),
        (
            lambda v: v["calls"][1]["args"].__setitem__(0, {"call": 99}),
            "reads the value of call 99",
        ),
        (lambda v: v["calls"][1]["args"].__setitem__(0, {"code": "os"}), "'code' is unknown"),
        (lambda v: v["calls"][3].update(op="call_function", target="os.system"), "'os.system'"),
        (lambda v: v["calls"][3].update(op="call_function", target="torch.load"), "'torch.load'"),
        (lambda v: v["calls"][3].update(op="call_method", target="__reduce__"), "__reduce__"),
        (lambda v: v["layers"]["first"].update(kind="Module.__init__"), "unknown class"),
        (lambda v: v["layers"]["first"]["arguments"].update(in_channels=10**9), "another shape"),
        (lambda v: v["layers"]["first"].update(kind="os"), "unknown class"),
        (lambda v: v["calls"].pop(), "do not end with an output"),
        (lambda v: v["spaces"][0].update(channels=0), "channels=0"),
        (lambda v: v.update(schema=2), "schema 2"),
    ],
)
def test_damaged_data_is_refused(tmp_path, change, message):
    network = tiny_network()
    kept = {space.name: np.arange(space.channels) for space in network.spaces}
    save_network(tmp_path, network, kept)
    (tmp_path / "manifest.json").unlink()
    value = json.loads((tmp_path / "graph.json").read_text())
    change(value)
    (tmp_path / "graph.json").write_text(json.dumps(value))
    from prune_gym import trust

    token = trust._trusted.set(frozenset())
    try:
        with pytest.raises(Exception, match=message) as error:
            load_network(tmp_path)
        assert error.type.__module__.startswith("prune_gym")
    finally:
        trust._trusted.reset(token)
