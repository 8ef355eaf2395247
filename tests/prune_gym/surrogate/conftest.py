"""A surrogate of the tiny environment, fitted once to real episodes."""

import numpy as np
import pytest

from prune_gym.runs import recording
from prune_gym.runs.recording import POLICIES, play
from prune_gym.surrogate.fit import fit_surrogate
from prune_gym.surrogate.records import Records

TINY = {
    "eval_images": 64,
    "repair_images": 64,
    "batch_size": 32,
    "max_epochs": 0.5,
    "threads": 1,
}
EPISODES = 15


@pytest.fixture(scope="session")
def tiny_records(tiny_trained):
    """Records of real episodes of all policies, and their environment."""
    from prune_gym.envs import PruningEnv

    env = PruningEnv(*tiny_trained, **TINY)
    episodes = tuple(play(env, POLICIES[n % len(POLICIES)], 0, n) for n in range(EPISODES))
    return Records(recording.header(env, "tiny", TINY, 0), episodes), env


@pytest.fixture(scope="session")
def tiny_fitted(tiny_records):
    """A surrogate fitted to the records, and its metrics."""
    return fit_surrogate(*tiny_records, n_estimators=100)


@pytest.fixture(scope="session")
def tiny_file(tiny_fitted, tmp_path_factory):
    """Path of the surrogate's file."""
    return tiny_fitted.surrogate.save(tmp_path_factory.mktemp("surrogate") / "tiny.safetensors")


@pytest.fixture
def make_surrogate(tiny_trained, tiny_file):
    """A function that makes surrogate environments with the arguments of PruningEnv."""

    def make(**arguments):
        from prune_gym.envs import PruningEnv

        return PruningEnv(*tiny_trained, surrogate=str(tiny_file), **(TINY | arguments))

    return make


def random_actions(env, seed, count):
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(count)]


def all_zero(env):
    mask = np.zeros(env.action_space["mask"].n, np.int8)
    return {"mask": mask, "duration": np.zeros(1, np.float32)}
