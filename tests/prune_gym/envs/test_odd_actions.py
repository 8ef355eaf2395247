"""Whatever is given as an action is executed or refused by a ValueError with its type."""

import random

import numpy as np
import pytest
import torch

from prune_gym.envs import PruningEnv
from prune_gym.wrappers import FlatBoxAction, KeepRatioAction, MultiDiscreteAction
from tests.tiny import tiny_dataset, tiny_network

CASES = 2_000
SETTINGS = {"eval_images": 16, "repair_images": 16, "batch_size": 16, "max_epochs": 0.01}
LEAVES = (
    *(0, 1, -1, 0.5, True, None, "x", b"x", 10**400, -(10**400), 2**63, 1e308, 1j, object()),
    *(float("nan"), float("inf"), set(), {1}, {}, {"mask": 1}, [], [[1]], (1, 2), range(3)),
    *("a" * 500, np.float32(0.5), np.array(1j), np.array("x"), np.array(None), np.zeros(0)),
    *(np.zeros((2, 2)), np.ma.masked, np.ma.array([1, 0], mask=[1, 0]), np.zeros(6)),
    *(np.datetime64("2026-01-01"), np.ones(6, np.float16), torch.ones(6, requires_grad=True)),
    *(torch.tensor(0.5), torch.tensor([0.5], requires_grad=True), torch.zeros(6, dtype=torch.int8)),
    *(torch.tensor([0.5], dtype=torch.bfloat16), torch.tensor([1j]), torch.eye(6).to_sparse()),
    torch.empty(6, device="meta"),
)


@pytest.fixture(scope="module")
def env():
    torch.manual_seed(0)
    env = PruningEnv(tiny_network(), tiny_dataset(), **SETTINGS)
    env.reset(seed=0)
    return env


def odd(rng, env):
    """An action of which at least a part is odd."""
    leaf = rng.choice(LEAVES)
    kind = rng.randrange(6)
    fine = env.action_space.sample()
    if kind == 0:
        return leaf
    if kind == 1:
        return fine | {"mask": leaf}
    if kind == 2:
        return fine | {"duration": leaf}
    if kind == 3:
        return {"mask": leaf, "duration": rng.choice(LEAVES)}
    if kind == 4:
        return {"mask": [leaf] * env.width, "duration": [leaf]}
    return fine | {str(rng.randrange(3)): leaf}


def step(env, action):
    """Take a step; the message of the ValueError that refuses it, or None."""
    try:
        reward = env.step(action)[1]
    except ValueError as error:
        return str(error)
    assert np.isfinite(reward)
    return None


def test_odd_actions_are_executed_or_refused(env):
    rng, executed, start = random.Random(0), 0, env.snapshot()
    env.action_space.seed(0)
    for _ in range(CASES):
        env.restore(start)
        action = odd(rng, env)
        message = step(env, action)
        executed += message is None
        assert message is None or 0 < len(message) < 400
    assert 50 < executed < CASES / 2


def test_tensors_of_any_kind_are_numbers(env):
    start = env.snapshot()
    results = []
    for mask in (np.ones(env.width, np.int8), torch.ones(env.width, requires_grad=True)):
        for duration in (0.0, torch.tensor([0.0], dtype=torch.bfloat16), np.float64(0)):
            env.restore(start)
            results.append(env.step({"mask": mask, "duration": duration})[1])
    assert len(set(results)) == 1


@pytest.mark.parametrize("wrapper", [FlatBoxAction, MultiDiscreteAction, KeepRatioAction])
def test_wrappers_refuse_them_too(wrapper):
    env = wrapper(PruningEnv(tiny_network(), tiny_dataset(), **SETTINGS))
    env.reset(seed=0)
    for leaf in LEAVES:
        if np.shape(leaf) == env.action_space.shape:
            continue
        with pytest.raises(ValueError, match="action"):
            env.step(leaf)


def test_the_error_has_shape_and_type(env):
    with pytest.raises(ValueError, match=r"of shape torch.Size\(\[1\]\) of dtype torch.complex64"):
        env.step({"mask": torch.tensor([1j]), "duration": 0})
    with pytest.raises(ValueError, match="not a set"):
        env.step({1})
