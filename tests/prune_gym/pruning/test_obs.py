"""Optimal Brain Surgeon: losses, order and exchanges equal those of trying all of them."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

import agents
from agents.base import Budget
from agents.toy import ToyPruning
from prune_gym.envs import PruningEnv
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace, criteria
from prune_gym.pruning.obs import (
    System,
    check_consumers,
    importances,
    obs_mask,
    obs_order,
    systems_of,
)
from prune_gym.pruning.repair import LeastSquares
from prune_gym.pruning.ridge import LARGEST, Moments
from prune_gym.pruning.rows import input_rows, layer_inputs
from prune_gym.pruning.spaces import Place
from prune_gym.wrappers import KeepRatioAction
from tests.tiny import shake, tiny_dataset, tiny_network, tiny_residual

pytestmark = pytest.mark.float


def images(count=48):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def tiny(number, **arguments):
    """Network, space and refit of a space of the tiny network."""
    network = tiny_network()
    module, space = shake(network.module), network.spaces[number]
    return module, space, LeastSquares(module, space.consumers, images(), **arguments)


def random_system(seed, channels=6, each=1, outputs=3, rows=40):
    """A system of correlated inputs, and its inputs, weights and wanted outputs."""
    rng = np.random.default_rng(seed)
    size = channels * each
    x = rng.normal(size=(rows, size)) @ rng.normal(size=(size, size))
    weights = rng.normal(size=(size, outputs))
    wanted = x @ weights + 0.1 * rng.normal(size=(rows, outputs))
    moments = Moments(torch.from_numpy(x.T @ x), torch.from_numpy(x.T @ wanted), rows, False)
    inputs = torch.arange(size).view(channels, each)
    system = System.of(moments, torch.from_numpy(weights), inputs, (wanted**2).sum(), 1e-3)
    return system, (x, weights, wanted)


def brute_loss(x, weights, wanted, inputs, removed, ridge=1e-3):
    """The smallest ridge loss, relative to the wanted outputs, if channels are removed."""
    strength = ridge * (x**2).sum(0).mean()
    kept = np.setdiff1d(np.arange(x.shape[1]), inputs[list(removed)].ravel())
    # The ridge as further rows of a plain least-squares problem.
    rows = np.vstack([x, np.sqrt(strength) * np.eye(x.shape[1])])
    goal = np.vstack([wanted, np.sqrt(strength) * weights])
    found, *_ = np.linalg.lstsq(rows[:, kept], goal, rcond=None)
    return ((rows[:, kept] @ found - goal) ** 2).sum() / (wanted**2).sum()


def data_of(module, name, refit):
    """Inputs with the bias, weights and wanted outputs of a layer."""
    layer, reference = module.get_submodule(name), refit.references[name]
    with torch.no_grad():
        parts = layer_inputs(module, layer, refit.images, reference.repeats)
        x = torch.cat(
            [input_rows(name, layer, p, c) for p, c in zip(parts, reference.calls, strict=True)]
        )
    weights = layer.weight.detach().flatten(1).T.double()
    if layer.bias is not None:
        x = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        weights = torch.cat([weights, layer.bias.detach()[None].double()])
    return x.numpy(), weights.numpy(), reference.outputs.double().numpy()


def convolutions(ridge=1e-3):
    """A padded, strided convolution of 3 x 3 that reads a space."""
    module = shake(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3, 2, 1)))
    space = ChannelSpace("a", 4, ("0",), ("2",))
    return module, space, LeastSquares(module, ["2"], images(), samples=6, ridge=ridge)


@pytest.mark.parametrize("make", [convolutions, lambda: tiny(0), lambda: tiny(1)])
def test_each_loss_is_that_of_the_best_refit(make):
    """A convolution, one of 1 x 1 with a bias, and a dense layer with more inputs than rows."""
    module, space, refit = make()
    with torch.no_grad():  # as after an earlier cut: the layer does not do what is wanted
        module.get_submodule(space.consumers[0]).weight.mul_(0.7)
    (system,) = systems_of(module, space, refit, {})
    data, inputs = data_of(module, space.consumers[0], refit), system.inputs.numpy()
    order, losses = obs_order([system])
    base = brute_loss(*data, inputs, [])
    for count in range(1, space.channels + 1):
        tried = {
            channel: brute_loss(*data, inputs, [*order[: count - 1], channel]) - base
            for channel in range(space.channels)
            if channel not in order[: count - 1]
        }
        assert order[count - 1] == min(tried, key=tried.get)
        assert losses[count - 1] == pytest.approx(tried[order[count - 1]], rel=1e-6)


def test_losses_of_the_dense_layer_need_more_inputs_than_rows():
    module, space, refit = tiny(1)
    assert not refit.has_moments("head", module.head)
    assert len(systems_of(module, space, refit, {})[0].inputs[0]) == 16


@pytest.mark.parametrize("each", [1, 4])
@pytest.mark.parametrize("seed", range(3))
def test_importances_rank_as_the_greedy_removal_and_tell_its_loss(seed, each):
    system, data = random_system(seed, each=each)
    order, losses = obs_order([system])
    found = importances([system])
    assert np.argsort(found).tolist() == order
    assert found[order] == pytest.approx(losses)
    for count in range(1, 6):
        mask = criteria.keep_best(found, count, 6).astype(bool)
        greedy, loss = obs_mask([system], count)
        assert (mask == greedy).all()
        assert loss == pytest.approx(found[~mask].max())
        base = brute_loss(*data, system.inputs.numpy(), [])
        wanted = brute_loss(*data, system.inputs.numpy(), np.flatnonzero(~mask)) - base
        assert loss == pytest.approx(wanted, rel=1e-6)


def optimum(system, data, count):
    """The best mask of all, and its loss."""
    inputs, channels = system.inputs.numpy(), len(system.inputs)
    base = brute_loss(*data, inputs, [])
    sets = itertools.combinations(range(channels), channels - count)
    loss, removed = min((brute_loss(*data, inputs, each) - base, each) for each in sets)
    return ~np.isin(np.arange(channels), removed), loss


def test_exchanges_find_the_optimum_that_the_greedy_removal_misses():
    missed = 0
    for seed in range(12):
        system, data = random_system(seed, each=2)
        best, least = optimum(system, data, 3)
        greedy, before = obs_mask([system], 3)
        mask, loss = obs_mask([system], 3, swaps=10)
        assert least * (1 - 1e-6) <= loss <= before
        base = brute_loss(*data, system.inputs.numpy(), [])
        wanted = brute_loss(*data, system.inputs.numpy(), np.flatnonzero(~mask)) - base
        assert loss == pytest.approx(wanted, rel=1e-6)
        if (greedy != best).any() and (mask == best).all():
            assert loss < before
            missed += 1
    assert missed >= 2


def test_a_doubled_channel_goes_first_and_costs_nearly_nothing():
    module, space, _ = convolutions()
    with torch.no_grad():
        module[0].weight[3], module[0].bias[3] = module[0].weight[1], module[0].bias[1]
    refit = LeastSquares(module, ["2"], images(), ridge=1e-9)
    order, losses = obs_order(systems_of(module, space, refit, {}))
    assert order[0] in (1, 3)
    assert losses[0] < 1e-8 < 1e-3 < losses[1]


def test_dead_channels_cost_nothing_and_have_an_order():
    system, (x, weights, wanted) = random_system(0)
    x[:, [0, 2]] = 0
    moments = Moments(torch.from_numpy(x.T @ x), torch.from_numpy(x.T @ wanted), 40, False)
    zero = torch.from_numpy(weights * (~np.isin(np.arange(6), [0, 2]))[:, None])
    found = importances([System.of(moments, zero, system.inputs, system.energy, 1e-3)])
    assert 0 <= found[0] < found[2] < 1e-300
    assert (np.delete(found, [0, 2]) > 1e-6).all()
    nothing = System.of(
        Moments(0 * moments.gram, 0 * moments.cross, 40, False), zero * 0, system.inputs, 0.0, 1e-3
    )
    assert len(set(importances([nothing]))) == 6


def test_the_losses_of_two_consumers_add():
    network = tiny_residual()
    module, space = shake(network.module), network.spaces[0]
    refit = LeastSquares(module, space.consumers, images())
    both = systems_of(module, space, refit, {})
    assert len(both) == 2
    order, losses = obs_order(both)
    for count in (1, 3, 8):
        wanted = 0
        for name, system in zip(space.consumers, both, strict=True):
            data, inputs = data_of(module, name, refit), system.inputs.numpy()
            wanted += brute_loss(*data, inputs, order[:count]) - brute_loss(*data, inputs, [])
        assert losses[count - 1] == pytest.approx(wanted, rel=1e-6)


def test_the_slots_of_a_space_and_the_outputs_that_are_left():
    """Of a layer's inputs, only those of the space are removed; a channel may have several."""
    module = shake(nn.Sequential(nn.Conv2d(3, 7, 1), nn.Tanh(), nn.Conv2d(7, 5, 3)))
    places = [Place("0", "out", [[1, 4], [0, 6]]), Place("2", "in", [[1, 4], [0, 6]])]
    space = ChannelSpace("a", 2, ("0",), ("2",), places=tuple(places))
    refit = LeastSquares(module, ["2"], images())
    left = np.array([1, 0, 1, 1, 0], bool)
    with torch.no_grad():
        module[2].weight = nn.Parameter(module[2].weight[left])
        module[2].bias = nn.Parameter(module[2].bias[left])
    (system,) = systems_of(module, space, refit, {"2": left})
    kernel = np.arange(9)
    assert (system.inputs[0].numpy() == np.r_[9 + kernel, 36 + kernel]).all()
    x, weights, wanted = data_of(module, "2", refit)
    data, inputs = (x, weights, wanted[:, left]), system.inputs.numpy()
    order, losses = obs_order([system])
    base = brute_loss(*data, inputs, [])
    assert losses[0] == pytest.approx(brute_loss(*data, inputs, order[:1]) - base, rel=1e-6)
    assert system.target.shape == (64, 3)


@pytest.mark.parametrize("recovery", ["lsq", "bn", "none"])
def test_the_present_network_is_read_and_paid_for(make_tiny_env, recovery):
    env = make_tiny_env(recovery=recovery)
    observation, _ = env.reset(seed=0)
    before = criteria.scores("obs", observation, env)
    assert (before == criteria.scores("obs", observation, env)).all()
    full, rows = env.baseline.geometry.macs(), 64 * 16
    system = (rows + 7) * 7 * (7 + 5) + 6 * 1 * 7 * (7 + 2 * 5)
    spent = 2 * (2 * 64 * full + system)
    assert env.search_macs_total == spent
    cut = {"mask": np.array([1, 0, 1, 0, 1, 1]), "duration": np.array([0.5])}
    observation, *_, info = env.step(cut)
    after = criteria.scores("obs", observation, env)
    assert after.shape == (5,)
    assert np.isfinite(after).all()
    system = (64 + 81) * 81 * (81 + 4) + 5 * 16 * 81 * (81 + 2 * 4)
    passes = 64 * (full + info["macs"])
    assert env.search_macs_total == spent + info["search_macs"] + passes + system


def test_backward_steps_want_the_outputs_that_are_left(make_tiny_env):
    env = make_tiny_env(order="backward")
    env.reset(seed=0)
    cut = {"mask": np.array([1, 0, 1, 0, 1, 1]), "duration": np.zeros(1)}
    observation, *_ = env.step(cut)
    found = criteria.scores("obs", observation, env)
    refit = env.baseline.least_squares
    left = np.array([1, 0, 1, 0, 1], bool)
    state = env.snapshot()
    wanted = importances(systems_of(state.module, state.space("one"), refit, {"second": left}))
    assert (found == wanted).all()


@pytest.mark.parametrize(
    ("name", "options"),
    [("greedy", {"ratios": [0.5, 1.0]}), ("evolution", {"population": 4}), ("amc", {})],
)
def test_agents_use_it(make_tiny_env, name, options):
    if name == "evolution":
        pytest.importorskip("cmaes")
    env = make_tiny_env()
    agent = agents.make(name, env, criterion="obs", **options)
    agent.learn(Budget(episodes=1))
    assert env.search_macs_total > 0


def test_the_wrapper_keeps_the_filters_of_the_largest_importances(make_tiny_env):
    env = KeepRatioAction(make_tiny_env(observation="weights"), "obs", least=0)
    env.reset(seed=0)
    base = env.unwrapped.baseline
    systems = systems_of(base.module, env.unwrapped.visited[0], base.least_squares, {})
    *_, info = env.step(np.array([0.0, -1.0], np.float32))
    assert (info["mask"] == obs_mask(systems, 3)[0]).all()


class Odd(nn.Module):
    """A space that a convolution of two groups reads, and one that a transposed one reads."""

    def __init__(self):
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3, groups=2)
        self.up, self.head = nn.ConvTranspose2d(6, 4, 2), nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.up(self.grouped(self.first(x))).mean((2, 3)))


SPACES = (
    ChannelSpace("a", 2, ("first",), ("grouped",),
                 places=(Place("first", "out", [[0, 2], [1, 3]]),
                         Place("grouped", "in", [[0, 2], [1, 3]]))),
    ChannelSpace("b", 6, ("grouped",), ("up",)),
    ChannelSpace("c", 4, ("up",), ("unused",)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("space", "word"),
    [
        (SPACES[0], "'grouped', which reads space 'a', is a convolution of 2 groups"),
        (SPACES[1], "'up', which reads space 'b', is a ConvTranspose2d, which cannot be refitted"),
        (SPACES[2], "no layer that reads space 'c'.*use another criterion"),
    ],
)
def test_consumers_without_a_system_are_refused_by_name(space, word):
    module = shake(Odd())
    refit = LeastSquares(module, ["grouped", "unused", "head"], images())
    with pytest.raises(ValueError, match=word):
        systems_of(module, space, refit, {})


def test_a_system_that_is_too_large_is_refused_by_name():
    most = int(LARGEST**0.5)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Linear(2 * most, 4, device="meta"))
    with pytest.raises(ValueError, match=f"'1'.* layer of {2 * most + 1} inputs, but .* {most}"):
        check_consumers(module, ChannelSpace("a", 2, ("0",), ("1",)))


def test_values_that_are_not_finite_are_refused_by_name():
    module, space, refit = tiny(0)
    with torch.no_grad():
        module.first.weight[0] = float("nan")
    with pytest.raises(ValueError, match=r"'second' has no system.*not finite"):
        systems_of(module, space, refit, {})


def test_an_environment_that_does_not_fit_is_refused_before_the_search():
    with pytest.raises(ValueError, match=r"criterion='obs'.*ToyPruning does not have.*use l1"):
        criteria.check("obs", ToyPruning())
    network = Network("tests:odd", shake(Odd()), SPACES[:1], (3, 8, 8), 4)
    env = PruningEnv(network, tiny_dataset(), eval_images=16, repair_images=16, threads=1)
    for name in ("greedy", "evolution"):
        with pytest.raises(ValueError, match="'grouped', which reads space 'a'"):
            agents.make(name, env, criterion="obs")


def test_bad_counts_and_swaps():
    system, _ = random_system(0)
    for arguments, word in (((0,), "count=0"), ((7,), "count=7"), ((3, -1), "swaps=-1")):
        with pytest.raises(ValueError, match=word):
            obs_mask([system], *arguments)
    mask, loss = obs_mask([system], 6, swaps=3)
    assert mask.all()
    assert loss == 0
