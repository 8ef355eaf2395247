"""The least-squares refit agrees with numpy's solver and restores accuracy."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from prune_gym.pruning import dense
from prune_gym.pruning.repair import LeastSquares, reestimate_batch_norm
from tests.tiny import shake, tiny_network

pytestmark = pytest.mark.float


def images(count=96, size=8, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_refit_is_the_least_squares_solution():
    network = tiny_network()
    module = shake(network.module)
    batch = images()
    refit = LeastSquares(module, ["second"], batch, samples=16, ridge=1e-12)
    mask = np.array([1, 1, 0, 1, 0, 1], bool)
    cut = dense(module, network.spaces, {"one": mask})
    refit.refit(cut, "second")
    # All 16 positions of the 4 x 4 map are sampled, so numpy can solve the same system.
    seen = {}
    cut.second.register_forward_hook(lambda m, i, o: seen.update(x=i[0]))
    full = {}
    module.second.register_forward_hook(lambda m, i, o: full.update(y=o))
    with torch.no_grad():
        cut(batch)
        module(batch)
    rows = seen["x"].permute(0, 2, 3, 1).reshape(-1, 4).double().numpy()
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    wanted = full["y"].permute(0, 2, 3, 1).reshape(-1, 5).double().numpy()
    solution, *_ = np.linalg.lstsq(rows, wanted, rcond=None)
    assert np.allclose(cut.second.weight.detach().flatten(1).numpy(), solution[:4].T, atol=1e-4)
    assert np.allclose(cut.second.bias.detach().numpy(), solution[4], atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_refit_of_a_padded_strided_convolution_finds_known_weights(stride):
    """If the pruned layer can reproduce the unpruned layer, the refit does so."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 5, 3, stride, padding=1, bias=False)
    network = nn.Sequential(first, nn.Tanh(), second).eval()
    batch = images()
    refit = LeastSquares(network, ["2"], batch, samples=20, ridge=1e-13)
    damaged = copy.deepcopy(network)
    with torch.no_grad():
        damaged[2].weight.mul_(0.3)
    spent = refit.refit(damaged, "2")
    assert torch.allclose(damaged[2].weight, second.weight, atol=1e-4)
    samples = min(20, (8 // stride) ** 2)
    assert spent == 96 * samples * 36 * (36 + 5)


def test_dead_inputs_do_no_harm():
    network = tiny_network()
    module = shake(network.module)
    refit = LeastSquares(module, ["second"], images())
    with torch.no_grad():
        for parameter in module.norm.parameters():
            parameter.zero_()
    refit.refit(module, "second")
    assert torch.isfinite(module.second.weight).all()


def test_refit_of_some_outputs_only():
    network = tiny_network()
    module = shake(network.module)
    batch = images()
    refit = LeastSquares(module, ["second"], batch, ridge=1e-12)
    masks = {"one": np.array([1, 1, 1, 0, 1, 0], bool), "two": np.array([0, 1, 0, 1, 1], bool)}
    both = dense(module, network.spaces, masks)
    refit.refit(both, "second", torch.tensor([1, 3, 4]))
    one = dense(module, network.spaces, {"one": masks["one"]})
    refit.refit(one, "second")
    assert torch.allclose(both.second.weight, one.second.weight[[1, 3, 4]], atol=1e-4)


def test_batch_norm_is_reestimated_to_the_batchs_statistics():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()
    batch = images(128)
    reestimate_batch_norm(module, batch)
    with torch.no_grad():
        output = module[0](batch)
    assert torch.allclose(module[1].running_mean, output.mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(module[1].running_var, output.var(dim=(0, 2, 3)), rtol=1e-3)
    assert not module.training
    assert module[1].momentum == 0.1


class Heads(nn.Module):
    """Dropout of two kinds, norms of all kinds, and an auxiliary head that only training calls."""

    def __init__(self):
        super().__init__()
        self.first, self.drop = nn.Conv2d(3, 4, 1), nn.Dropout(0.5)
        self.norm, self.last = nn.BatchNorm2d(4), nn.BatchNorm1d(4, affine=False, momentum=0.3)
        self.deep = nn.BatchNorm3d(4)
        self.untracked = nn.BatchNorm2d(4, track_running_stats=False)
        self.auxiliary = nn.BatchNorm1d(4)
        self.fails = False

    def forward(self, x):
        x = self.norm(self.drop(self.first(x)))
        if self.training:
            return self.auxiliary(x.mean((2, 3)))
        if self.fails:
            raise RuntimeError("no more images")
        x = self.deep(self.untracked(x).unsqueeze(2)).squeeze(2)
        return self.last(nn.functional.dropout(x.mean((2, 3)), training=self.training))


def test_reestimation_uses_batch_norms_alone_and_draws_nothing():
    network, batch = shake(Heads()), images(300)
    network.auxiliary.eval()
    random, before = torch.get_rng_state(), copy.deepcopy(network.state_dict())
    modes = {name: module.training for name, module in network.named_modules()}
    reestimate_batch_norm(network, batch)
    assert torch.equal(random, torch.get_rng_state())
    assert modes == {name: module.training for name, module in network.named_modules()}
    assert (network.norm.momentum, network.last.momentum) == (0.1, 0.3)
    first = {name: value.clone() for name, value in network.state_dict().items()}
    reestimate_batch_norm(network, batch)
    changed = set()
    for name, value in network.state_dict().items():
        assert torch.equal(value, first[name])
        if not torch.equal(value, before[name]):
            changed.add(name)
    expected = {
        f"{norm}.running_{of}" for norm in ("norm", "deep", "last") for of in ("mean", "var")
    }
    counts = {f"{norm}.num_batches_tracked" for norm in ("norm", "deep", "last")}
    assert changed - counts == expected
    with torch.no_grad():
        parts = [network.first(part) for part in batch.split(128)]
    variance = torch.stack([part.var((0, 2, 3)) for part in parts]).mean(0)
    assert torch.allclose(network.norm.running_var, variance, rtol=1e-4)


@pytest.mark.parametrize("training", [False, True])
def test_a_failed_reestimation_restores_modes_and_statistics(training):
    network = shake(Heads()).train(training)
    network.norm.eval()
    network.fails = True
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(RuntimeError, match="no more images"):
        reestimate_batch_norm(network, images())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert (network.drop.training, network.norm.training) == (training, False)
    assert network.norm.momentum == 0.1
