"""The toy is a proper environment, and its best action is the best."""

import warnings

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence

from agents.toy import BEST_DURATION, ToyPruning


def test_checker():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(ToyPruning(), skip_render_check=True)


def test_the_best_action_earns_one_and_any_other_less():
    env = ToyPruning(layers=4)
    env.reset(seed=3)
    ended = False
    while not ended:
        best = env.best_action()
        worse = {"mask": best["mask"].copy(), "duration": best["duration"]}
        worse["mask"][0] ^= 1
        longer = {"mask": best["mask"], "duration": best["duration"] + 0.1}
        padded = {"mask": best["mask"] | (1 - env.valid), "duration": best["duration"]}
        rewards = [reward for reward, _ in env.try_actions([best, worse, longer, padded])]
        assert rewards[0] == pytest.approx(1)
        assert rewards[1] == pytest.approx(1 - 1 / env.valid.sum())
        assert rewards[2] == pytest.approx(0.9)
        assert rewards[3] == rewards[0]
        _, reward, ended, _, info = env.step(best)
        assert reward == rewards[0] == sum(info["rewards"].values())
    assert env.search_macs_total == 4 * 5
    with pytest.raises(ResetNeeded):
        env.step(best)


def test_l1_ranks_rightly_and_l2_does_not():
    env = ToyPruning()
    right = {"l1": [], "l2": []}
    for seed in range(50):
        observation, _ = env.reset(seed=seed)
        wanted = int(env.best_mask().sum())
        for name, found in right.items():
            kept = np.zeros(8, np.int8)
            kept[np.argsort(-observation[name])[:wanted]] = 1
            found.append((kept == env.best_mask()).all())
    assert np.mean(right["l1"]) == 1
    assert np.mean(right["l2"]) < 0.2


def test_snapshots():
    env = ToyPruning()
    env.reset(seed=0)
    before = env.snapshot()
    one = env.step(env.best_action())
    observation, _ = env.restore(before)
    assert (observation["bn_scale"] == before.scale).all()
    two = env.step(env.best_action())
    assert data_equivalence(one, two, exact=True)


def test_bad_layers():
    with pytest.raises(ValueError, match="layers=9"):
        ToyPruning(layers=9)
    assert BEST_DURATION == 0.3
