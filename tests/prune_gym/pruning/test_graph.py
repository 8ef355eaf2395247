"""The calls of a network, run in parts, return the same values as the network."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from prune_gym.networks import build
from prune_gym.pruning import ChannelSpace, dense
from prune_gym.pruning.graph import Bound, Program, ProgramError
from tests.tiny import shake, tiny_network

pytestmark = pytest.mark.float


@pytest.mark.parametrize("name", ["resnet20", "resnet20b", "plain20", "tests.tiny:tiny_network"])
@torch.no_grad()
def test_any_split_gives_the_same_bits_and_leaves_the_prefix(name):
    network = build(name, 4, 8)
    module, images = shake(network.module), torch.randn(3, *network.input_shape)
    program = Program(module, network.spaces, images)
    masks = {s.name: [i % 3 != 1 for i in range(s.channels)] for s in network.spaces[1:]}
    cut = dense(module, network.spaces, masks)
    for candidate in (module, cut):
        for fold in (True, False):
            bound = Bound(program, candidate, fold)
            whole = bound.logits({0: images})
            assert torch.allclose(whole, candidate(images), rtol=1e-4, atol=1e-4)
            for start in range(1, len(program.nodes) - 1):
                prefix = bound.run({0: images}, 1, start)
                kept = {k: v.clone() for k, v in prefix.items() if isinstance(v, torch.Tensor)}
                assert torch.equal(bound.logits(prefix, start), whole)
                assert all(torch.equal(prefix[k], v) for k, v in kept.items())


class Net(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.b = nn.Conv2d(4, 2, 1)
        self.relu, self.silu = nn.ReLU(inplace=True), nn.SiLU(inplace=True)
        self._forward = forward

    def forward(self, x):
        return self._forward(self, x)


SPACES = (ChannelSpace("a", 4, ("a",), ("b",), ("norm",)),)


def plain(self, x):
    return self.b(self.relu(self.norm(self.a(x)))).mean((2, 3))


def residual_in_place(self, x):
    y = self.norm(self.a(x))
    y += 1
    return self.b(functional.relu(y, inplace=True)).mean((2, 3))


def activation_in_place(self, x):
    return self.b(self.silu(self.norm(self.a(x)) * 2)).mean((2, 3))


@pytest.mark.parametrize("forward", [plain, residual_in_place, activation_in_place])
@torch.no_grad()
def test_in_place_forms_are_run_without_harm(forward):
    module, images = shake(Net(forward)), torch.randn(2, 3, 4, 4)
    bound = Bound(Program(module, SPACES, images), module)
    expected = module(images)
    for start in range(1, len(bound.program.nodes) - 1):
        prefix = bound.run({0: images}, 1, start)
        for _ in range(2):  # a second candidate must find the prefix unchanged
            assert torch.allclose(bound.logits(prefix, start), expected, atol=1e-5)


def twice(self, x):
    return self.b(self.norm(self.a(self.b(self.a(x))[:, :1].repeat(1, 3, 1, 1)))).mean((2, 3))


def pair(self, x):
    return plain(self, x), x


def sigmoid_in_place(self, x):
    return self.b(self.norm(self.a(x)).sigmoid_()).mean((2, 3))


def read_again(self, x):
    y = self.norm(self.a(x))
    return self.b(self.silu(y) + y).mean((2, 3))


def data_dependent(self, x):
    return plain(self, x) if x.sum() > 0 else plain(self, -x)


def aliased(self, x):
    y = self.norm(self.a(x))
    y.relu_()
    return self.b(y).mean((2, 3))


def unused(self, x):
    return self.b(functional.batch_norm(self.a(x), self.norm.running_mean, self.norm.running_var))


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (twice, "'a' is called twice"),
        (pair, "more than the logits"),
        (sigmoid_in_place, "in place"),
        (read_again, "in place"),
        (data_dependent, "cannot be traced"),
        (aliased, "outputs of the traced calls differ"),
        (unused, "'norm' is not called"),
    ],
)
def test_what_a_list_of_calls_cannot_hold_is_refused(forward, message):
    module = shake(Net(forward))
    with pytest.raises(ProgramError, match=message):
        Program(module, SPACES, torch.randn(2, 3, 4, 4))


def test_gradients_reach_the_suffix_alone():
    network = tiny_network()
    module = shake(network.module)
    images = torch.randn(4, *network.input_shape)
    program = Program(module, network.spaces, images)
    start = program.first_call(network.spaces[1])
    bound = Bound(program, module, fold=False)
    with torch.no_grad():
        values = bound.run({0: images}, 1, start)
    bound.logits(values, start).sum().backward()
    reached = {name for name, p in module.named_parameters() if p.grad is not None}
    assert reached == {"second.weight", "second.bias", "head.weight", "head.bias"}
    module.train()
    expected = {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    module.eval()(images).sum().backward()
    for name, grad in expected.items():
        assert torch.allclose(dict(module.named_parameters())[name].grad, grad, atol=1e-5)
