"""Greedy executes the candidate with the best reward."""

import numpy as np
import pytest

import agents
from agents.base import Budget, Callback
from agents.toy import ToyPruning
from tests.agents.helpers import FixedToy


@pytest.mark.float
def test_greedy_takes_what_pays_best_now(make_tiny_env):
    env = make_tiny_env()
    tried = []

    class Trials(Callback):
        def on_trial(self, reward, info):
            tried.append((info["position"], reward))

    collect = Trials()
    agent = agents.make("greedy", env, ratios=[0.2, 0.6, 1.0], durations=[0, 1])
    agent.learn(Budget(episodes=1), collect)
    assert agent.steps == 2 * (3 * 2 + 1)
    for position in (1, 2):
        rewards = [reward for place, reward in tried if place == position]
        # Six candidates, then the step, which pays just what its trial did.
        assert rewards[6] == max(rewards[:6])


def test_greedy_finds_the_best_counts_of_the_toy():
    env = FixedToy()
    observation, _ = env.reset()
    agent = agents.make("greedy", env, ratios=[k / 8 for k in range(1, 9)], durations=[0.1, 0.3])
    ended = False
    while not ended:
        action = agent.act(observation)
        assert (action["mask"] == env.best_mask()).all()
        assert action["duration"] == np.float32(0.3)
        observation, _, ended, _, _ = env.step(action)


@pytest.mark.parametrize(
    "options", [{"ratios": []}, {"ratios": 0.5}, {"ratios": [0]}, {"durations": [2]}]
)
def test_greedy_refuses_bad_candidates(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("greedy", ToyPruning(), **options)
