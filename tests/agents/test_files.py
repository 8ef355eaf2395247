"""Optimizers, modules and generators as tensors: back bit for bit, or refused."""

import numpy as np
import pytest
import torch
from torch import nn

from agents import files
from prune_gym.errors import WeightsError


def stepped(seed, size=3):
    torch.manual_seed(seed)
    layer = nn.Linear(size, 2)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        layer(torch.randn(4, size)).square().sum().backward()
        optimizer.step()
    return layer, optimizer


def test_an_optimizer_goes_on_bit_for_bit(tmp_path):
    layer, optimizer = stepped(0)
    tensors = files.optimizer_tensors(optimizer, "o/") | {
        f"layer/{name}": value for name, value in layer.state_dict().items()
    }
    read = files.save_tensors(tmp_path / "t.safetensors", tensors)
    from prune_gym.weights import read_weights

    loaded = read_weights(read)
    other, again = stepped(1)
    files.set_module(other, loaded, "layer/")
    files.set_optimizer(again, loaded, "o/")
    for own, adam in ((layer, optimizer), (other, again)):
        own.zero_grad()
        own(torch.ones(1, 3)).sum().backward()
        adam.step()
    assert torch.equal(layer.weight, other.weight)
    assert torch.equal(layer.bias, other.bias)


def test_what_does_not_fit_is_refused():
    layer, optimizer = stepped(0)
    wider, other = stepped(0, size=5)
    tensors = files.optimizer_tensors(optimizer, "o/")
    with pytest.raises(WeightsError, match="optimizer does not fit"):
        files.set_optimizer(other, tensors, "o/")
    with pytest.raises(WeightsError, match="does not fit"):
        files.set_module(wider, layer.state_dict(), "")
    with pytest.raises(WeightsError, match="random state"):
        files.set_random(np.random.default_rng(0), {"bit_generator": "MT19937"})
    with pytest.raises(WeightsError, match="'generator'"):
        files.set_generator(torch.Generator(), {}, "generator")
    with pytest.raises(WeightsError, match="'generator'"):
        files.set_generator(torch.Generator(), {"generator": torch.zeros(3)}, "generator")


def test_generators_go_on():
    one, two = torch.Generator().manual_seed(3), torch.Generator()
    torch.rand(5, generator=one)
    files.set_generator(two, {"g": one.get_state()}, "g")
    assert torch.equal(torch.rand(5, generator=one), torch.rand(5, generator=two))
    first, second = np.random.default_rng(3), np.random.default_rng(4)
    first.random(5)
    files.set_random(second, first.bit_generator.state)
    assert (first.random(5) == second.random(5)).all()
