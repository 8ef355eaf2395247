"""Weights of other programs, layers that share weights, and what does not fit."""

import pickle

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from prune_gym.errors import WeightsError
from prune_gym.weights import load_weights, read_weights, save_weights, shared_names, tensors_of
from tests.tiny import TinyResidual, shake


class Shared(nn.Module):
    """Two convolutions with one weight, and a norm under two names."""

    def __init__(self, shared=True):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)
        self.norm, self.head = nn.BatchNorm2d(8), nn.Linear(8, 4)
        self.same = self.norm if shared else nn.BatchNorm2d(8)
        if shared:
            self.c.weight = self.b.weight

    def forward(self, x):
        x = self.same(self.b(self.norm(self.a(x))))
        return self.head(self.c(x.relu()).mean((2, 3)))


def equal(one, other):
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict"])
@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".pt"])
def test_files_of_torch_are_read(tmp_path, wrapper, parallel, suffix):
    trained, fresh = shake(TinyResidual(), 1), TinyResidual()
    state = (nn.DataParallel(trained) if parallel else trained).state_dict()
    value = state if wrapper is None else {wrapper: state, "epoch": 3}
    torch.save(value, tmp_path / f"net{suffix}")
    load_weights(fresh, tmp_path / f"net{suffix}")
    assert equal(trained, fresh)


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"weight": Evil()}, "other objects than tensors.*Save model.state_dict"),
        (nn.Linear(2, 2), "other objects than tensors.*Save model.state_dict"),
        ([torch.ones(2)], "holds a list, not the tensors"),
        ({}, "holds a dict, not the tensors"),
        ({"ema": {"a": torch.ones(1)}}, "holds 'ema', which is no tensor"),
        ({"a": torch.ones(1), "epoch": 3}, "holds 'epoch', which is no tensor"),
        ({3: torch.ones(1)}, "holds 3, which is no tensor"),
    ],
)
def test_other_files_of_torch_are_refused_in_a_line(tmp_path, capsys, value, message):
    torch.save(value, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(tmp_path / "net.pth")
    assert "\n" not in str(caught.value)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no weights", pickle.dumps({"a": 1})])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused_in_a_line(tmp_path, content, suffix):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"net{suffix}") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_named(tmp_path):
    network, path = TinyResidual(), tmp_path / "net.pth"
    state = network.state_dict()
    torch.save({name: value for name, value in state.items() if name != "inner.weight"}, path)
    with pytest.raises(WeightsError, match=r"1 tensors are missing.*'inner.weight'"):
        load_weights(network, path)
    torch.save(state | {"head.bias": torch.zeros(9)}, path)
    with pytest.raises(WeightsError, match=r"'head.bias' has shape \(9,\).*needs \(4,\)"):
        load_weights(network, path)
    torch.save(state | {"head.bias": torch.full((4,), torch.nan)}, path)
    with pytest.raises(WeightsError, match=r"NaN or infinity in 'head.bias'"):
        load_weights(network, path)


def test_shared_tensors_are_saved_once_and_stay_shared(tmp_path):
    trained, fresh = shake(Shared(), 1), Shared()
    assert shared_names(trained)["c.weight"] == "b.weight"
    path = save_weights(trained, tmp_path / "net.safetensors")
    assert set(load_file(path)) == set(tensors_of(trained))
    assert "c.weight" not in load_file(path)
    assert "same.running_mean" not in load_file(path)
    load_weights(fresh, path)
    assert equal(trained, fresh)
    assert fresh.c.weight is fresh.b.weight
    # A network in which nothing is shared takes the values under all names.
    separate = Shared(shared=False)
    load_weights(separate, path)
    assert torch.equal(separate.c.weight, trained.b.weight)


def test_weights_of_a_separate_network_fit_a_shared_one_only_if_they_are_equal(tmp_path):
    separate, shared, path = shake(Shared(shared=False), 1), Shared(), tmp_path / "net.safetensors"
    save_weights(separate, path)
    with pytest.raises(WeightsError, match=r"'c.weight' and 'b.weight' differ"):
        load_weights(shared, path)
    with torch.no_grad():
        separate.c.weight.copy_(separate.b.weight)
    separate.same.load_state_dict(separate.norm.state_dict())
    save_weights(separate, path)
    load_weights(shared, path)
    assert torch.equal(shared.c.weight, separate.c.weight)


def test_a_shared_tensor_may_have_been_saved_under_its_other_name(tmp_path):
    trained, fresh = shake(Shared(), 1), Shared()
    state = {name: value for name, value in trained.state_dict().items() if name != "b.weight"}
    torch.save(state, tmp_path / "net.pth")
    load_weights(fresh, tmp_path / "net.pth")
    assert equal(trained, fresh)


def test_views_of_one_memory_are_saved(tmp_path):
    network = nn.Module()
    whole = torch.arange(8.0)
    network.register_buffer("first", whole[:4])
    network.register_buffer("last", whole[4:])
    saved = load_file(save_weights(network, tmp_path / "net.safetensors"))
    assert torch.equal(torch.cat([saved["first"], saved["last"]]), whole)


def test_files_without_shared_tensors_have_no_metadata(tmp_path):
    """So that the checksums of earlier files stay valid."""
    from safetensors import safe_open

    path = save_weights(TinyResidual(), tmp_path / "net.safetensors")
    with safe_open(path, framework="pt") as file:
        assert not file.metadata()
