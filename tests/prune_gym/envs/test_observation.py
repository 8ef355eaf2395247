"""Observations: present weights, statistics of the filters, and features of the layer."""

import numpy as np
import pytest
import torch
from torch import nn

from prune_gym.envs import PruningEnv
from prune_gym.envs.observation import LAYER_FEATURES, STATISTICS
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace, criteria
from tests.tiny import shake, tiny_dataset


def keep(env, filters):
    """An action that keeps these filters, without fine-tuning."""
    mask = np.zeros(env.width, np.int8)
    mask[filters] = 1
    return {"mask": mask, "duration": np.zeros(1, np.float32)}


def layer(observation):
    return dict(zip(LAYER_FEATURES, observation["layer"].tolist(), strict=True))


def test_the_observation_shows_the_present_weights(make_tiny_env):
    env = make_tiny_env(observation="weights")
    env.reset(seed=0)
    mask = np.array([1, 0, 1, 1, 0, 0], np.int8)
    observation, *_ = env.step({"mask": mask, "duration": np.zeros(1, np.float32)})
    rows = observation["weights"].reshape(6, -1)
    assert rows.shape[1] == 27  # the widest filter: 3 x 3 x 3
    # The second layer's filters keep their columns: those of removed inputs are zero.
    assert (rows[:5, [1, 4, 5]] == 0).all()
    assert (rows[:5, [0, 2, 3]] != 0).all()
    assert (rows[5:] == 0).all()
    assert observation["action_mask"].tolist() == [1, 1, 1, 1, 1, 0]


@pytest.mark.float
def test_statistics_are_relative_to_their_mean(make_tiny_env):
    env = make_tiny_env(recovery="none")
    env.reset(seed=0)
    observation, *_ = env.step(keep(env, [0, 2, 3]))
    weight = env.network.module.second.weight.detach().flatten(1)
    for name, norms in (("l1", weight.abs().sum(1)), ("l2", weight.norm(dim=1))):
        expected = (norms / norms.mean()).numpy()
        np.testing.assert_allclose(observation[name][:5], expected, rtol=1e-5)
    # The second space has no batch norm, and 5 of at most 6 filters.
    assert (observation["bn_scale"] == 0).all()
    for name in STATISTICS:
        assert observation[name][5] == 0


def test_layer_features_follow_the_episode(make_tiny_env):
    env = make_tiny_env(recovery="none", objective="macs", search_budget=10**9)
    observation, _ = env.reset(seed=0)
    start = layer(observation)
    assert (start["index"], start["last_keep"]) == (0, 1)
    assert (start["reduced"], start["budget_left"]) == (0, 1)
    observation, _, _, _, info = env.step(keep(env, [0, 2, 3]))
    second = layer(observation)
    assert (second["index"], second["last_keep"], second["rest"]) == (0.5, 0.5, 0)
    assert second["reduced"] == pytest.approx(1 - 1 / info["macs_ratio"])
    assert second["budget_left"] == pytest.approx(1 - env.search_macs_total / 10**9)
    assert observation["progress"] == 0.5
    observation, *_ = env.step(keep(env, [0]))
    assert observation["progress"] == 1
    for name in ("layer", "action_mask", *STATISTICS):
        assert (observation[name] == 0).all()


@pytest.mark.float
def test_a_tied_space_shows_all_its_producers(make_tied_env):
    """The trunk of the residual network is made by two convolutions, each with a batch norm."""
    env = make_tied_env(recovery="none")
    observation, _ = env.reset(seed=0)
    module = env.baseline.module
    rows = torch.cat([layer.weight.flatten(1) for layer in (module.stem, module.outer)], 1)
    for name, values in (
        ("l1", rows.abs().sum(1)),
        ("l2", rows.norm(dim=1)),
        ("distance", torch.cdist(rows, rows).sum(1)),
        ("bn_scale", module.norm0.weight + module.norm2.weight),
        ("bn_shift", module.norm0.bias + module.norm2.bias),
    ):
        expected = (values / values.abs().mean()).detach().numpy()
        np.testing.assert_allclose(observation[name][:8], expected, rtol=1e-4, atol=1e-5)
    shown = make_tied_env(observation="weights").reset(seed=0)[0]["weights"].reshape(12, -1)
    expected = (rows / rows.std()).detach().numpy()
    np.testing.assert_allclose(shown[:8, : rows.shape[1]], expected, rtol=1e-4)


@pytest.mark.float
def test_layer_features_of_a_tied_space(make_tied_env):
    env = make_tied_env(recovery="none")
    macs = {layer.name: layer.macs({}) for layer in env.baseline.geometry.layers}
    total = sum(macs.values())
    observation, _ = env.reset(seed=0)
    trunk = layer(observation)
    assert trunk["tied"] == 1
    # The stem reads 3 channels, and the other producer the largest number.
    assert trunk["inputs"] == pytest.approx((3 + 12) / 2 / 12)
    assert trunk["channels"] == pytest.approx(8 / 12)
    # Cutting the trunk changes all layers but the head; later steps change all but the stem.
    assert trunk["cost_share"] == pytest.approx(1 - macs["head"] / total)
    assert trunk["rest"] == pytest.approx(1 - macs["stem"] / total)
    mid = layer(env.step(keep(env, range(8)))[0])
    assert mid["cost_share"] == pytest.approx((macs["inner"] + macs["outer"]) / total)
    assert mid["rest"] == pytest.approx((macs["down"] + macs["head"]) / total)


class Norms(nn.Module):
    """A network with batch norms of two kinds, the second with or without weights."""

    def __init__(self, affine):
        super().__init__()
        self.a, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=affine)
        self.b, self.flat = nn.Linear(6, 5), nn.BatchNorm1d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = self.norm(self.a(x)).relu().mean((2, 3))
        return self.head(self.flat(self.b(x)).relu())


def test_batch_norms_without_weights_and_of_other_kinds_are_shown():
    spaces = (
        ChannelSpace("a", 6, ("a",), ("b",), ("norm",)),
        ChannelSpace("b", 5, ("b",), ("head",), ("flat",)),
    )
    module = shake(Norms(affine=False))
    network = Network("tests:norms", module, spaces, (3, 8, 8), 4)
    env = PruningEnv(network, tiny_dataset(), eval_images=16, repair_images=16, threads=1)
    observation, _ = env.reset(seed=0)
    assert (observation["bn_scale"] == 1).all()
    assert (observation["bn_shift"] == 0).all()
    assert (criteria.scores("bn", observation, env) == 1).all()
    assert (criteria.scores("taylor", observation, env) > 0).any()
    observation, *_ = env.step(keep(env, [0, 1, 4]))
    for name, values in (("bn_scale", module.flat.weight), ("bn_shift", module.flat.bias)):
        expected = (values / values.abs().mean()).detach().numpy()
        np.testing.assert_allclose(observation[name][:5], expected, rtol=1e-5)
