"""The wrapped forms pass both checkers and do what the native action does."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

from prune_gym.wrappers import FlatBoxAction, MultiDiscreteAction


@pytest.mark.parametrize("wrapper", [FlatBoxAction, MultiDiscreteAction])
@pytest.mark.parametrize("observation", ["features", "weights"])
def test_both_checkers(make_tiny_env, wrapper, observation):
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    env = wrapper(make_tiny_env(observation=observation))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Gymnasium's checker warns of any wrapper; that one word is not about us.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped.*")
        check_env(env, skip_render_check=True)
        sb3.check_env(env)


def test_flat_box_is_the_native_action(make_tiny_env):
    native, flat = make_tiny_env(), FlatBoxAction(make_tiny_env())
    native.reset(seed=1)
    flat.reset(seed=1)
    one = native.step({"mask": np.array([1, 0, 1, 1, 0, 0]), "duration": np.array([0.5])})
    two = flat.step(np.array([0.9, -0.5, 0.6, 1, 0, -0.1, 0], np.float32))
    assert data_equivalence(one, two, exact=True)


def test_multi_discrete_is_the_native_action(make_tiny_env):
    native, discrete = make_tiny_env(), MultiDiscreteAction(make_tiny_env(), durations=5)
    native.reset(seed=1)
    discrete.reset(seed=1)
    one = native.step({"mask": np.array([1, 0, 1, 1, 0, 0]), "duration": np.array([0.5])})
    two = discrete.step(np.array([1, 0, 1, 1, 0, 0, 2]))
    assert data_equivalence(one, two, exact=True)


def test_bad_arguments(make_tiny_env):
    with pytest.raises(ValueError, match="threshold=1"):
        FlatBoxAction(make_tiny_env(), threshold=1)
    with pytest.raises(ValueError, match="durations=1"):
        MultiDiscreteAction(make_tiny_env(), durations=1)
    with pytest.raises(ValueError, match="wraps the Dict"):
        FlatBoxAction(gym.make("CartPole-v1"))
