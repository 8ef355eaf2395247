"""Episodes with derived spaces of many kinds of networks."""

import copy

import numpy as np
import pytest
import torch

from prune_gym.envs import PruningEnv
from prune_gym.networks import Network
from prune_gym.pruning import Geometry, derive
from tests.conftest import actions
from tests.prune_gym.pruning.patterns import SHAPE, patterns
from tests.tiny import shake, tiny_dataset

PATTERNS = {name: net for name, (net, sizes) in patterns().items() if sizes}
DATA = tiny_dataset(size=16, train=64)


def make(name, **settings):
    """An environment of a pattern, with few images."""
    found = derive(shake(copy.deepcopy(PATTERNS[name])), SHAPE)
    network = Network(f"tests:{name}", found.module, found.spaces, SHAPE, 4)
    given = {"eval_images": 32, "repair_images": 32, "batch_size": 16, "max_epochs": 0.5}
    return PruningEnv(network, dataset=DATA, threads=1, scope="all", **(given | settings))


def play(env, durations=(0.0,)):
    """The observations, accuracies and networks of an episode."""
    env.reset(seed=0)
    trail, done = [], False
    for index, action in enumerate(actions(env, 0, len(env.visited))):
        action["duration"][:] = durations[index % len(durations)]
        observation, _, done, _, info = env.step(action)
        trail.append((observation, info, env.network))
    assert done
    return trail


@pytest.mark.filterwarnings("ignore:.*steps are slow")
@pytest.mark.float
@pytest.mark.parametrize("recovery", ["lsq", "bn", "none"])
@pytest.mark.parametrize("name", PATTERNS)
def test_an_episode_is_the_same_with_and_without_fast_paths(name, recovery):
    direct = play(make(name, recovery=recovery, fast=False))
    fast = play(make(name, recovery=recovery))
    for (seen, info, network), (seen2, info2, network2) in zip(direct, fast, strict=True):
        assert abs(info["accuracy"] - info2["accuracy"]) <= 2 / 32
        for key in seen:
            np.testing.assert_allclose(seen[key], seen2[key], atol=2e-2, rtol=1e-2)
        weights = network2.module.state_dict()
        for key, value in network.module.state_dict().items():
            scale = float(value.abs().max())
            assert torch.allclose(weights[key], value, rtol=1e-2, atol=1e-2 * scale + 1e-5), key
    geometry = Geometry(network.module, network.spaces, SHAPE)
    assert (info["params"], info["macs"]) == (geometry.params(), geometry.macs())


@pytest.mark.filterwarnings("ignore:.*steps are slow")
@pytest.mark.parametrize("kind", ["features", "weights"])
@pytest.mark.parametrize("name", PATTERNS)
def test_observations_fit_their_space_and_training_runs(name, kind):
    env = make(name, observation=kind)
    for observation, info, _ in play(env, (0.4, 0.0)):
        assert env.observation_space.contains(observation)
        assert np.isfinite(info["accuracy"])
