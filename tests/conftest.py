"""Fixtures that several test modules use."""

import pytest
import torch

from prune_gym.envs import PruningEnv
from prune_gym.training import TrainingOptions, train
from prune_gym.trust import trusting
from tests.tiny import tiny_dataset, tiny_network, tiny_residual

OWN = (
    "tests.tiny:tiny_network",
    "tests.tiny:tiny_residual",
    "tests.prune_gym.test_export:branching",
    "tests.prune_gym.networks.test_network_checks:grey_network",
)


@pytest.fixture(scope="session", autouse=True)
def _trusted():
    """The tests' own networks may be named by files; test_trust.py tests without this."""
    with trusting(OWN):
        yield


@pytest.fixture(scope="session")
def tiny_trained():
    """A tiny custom network, trained on tiny images, with its data set."""
    torch.manual_seed(0)
    network, dataset = tiny_network(), tiny_dataset()
    options = TrainingOptions(batch_size=32, learning_rate=0.05, schedule="one_cycle")
    train(network.module, dataset.train, 60, torch.Generator().manual_seed(0), options)
    return network, dataset


@pytest.fixture(scope="session")
def residual_trained():
    """A tiny network with a residual trunk, trained on tiny images, with its data set."""
    torch.manual_seed(0)
    network, dataset = tiny_residual(), tiny_dataset()
    options = TrainingOptions(batch_size=32, learning_rate=0.05, schedule="one_cycle")
    train(network.module, dataset.train, 60, torch.Generator().manual_seed(0), options)
    return network, dataset


@pytest.fixture
def make_tiny_env(tiny_trained):
    """A function that makes environments of the tiny network with the arguments of PruningEnv."""
    return _maker(*tiny_trained)


@pytest.fixture
def make_tied_env(residual_trained):
    """The same of the network with a tied trunk, which an episode visits first by default."""
    return _maker(*residual_trained)


@pytest.fixture(params=["chained", "tied"])
def make_each_env(request):
    """Both of these in turn."""
    return request.getfixturevalue(
        {"chained": "make_tiny_env", "tied": "make_tied_env"}[request.param]
    )


def _maker(network, dataset):
    def make(**arguments):
        settings = {
            "eval_images": 64,
            "repair_images": 64,
            "batch_size": 32,
            "max_epochs": 0.5,
            "threads": 1,
        }
        return PruningEnv(network, dataset, **(settings | arguments))

    return make


def actions(env, seed, count=None):
    """Random actions; the same seed returns the same actions."""
    space = env.action_space
    space.seed(seed)
    return [space.sample() for _ in range(count or len(env.visited))]
