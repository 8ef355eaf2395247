"""The counters of a search, over several calls of learn and over several environments."""

import agents
from agents.base import Budget, Callback
from agents.toy import ToyPruning


class Count(Callback):
    def __init__(self):
        self.numbers, self.checkpoints = [], []

    def on_episode(self, number, env, infos):
        self.numbers.append(number)

    def on_checkpoint(self, agent):
        self.checkpoints.append(agent.episodes)


def test_a_budget_counts_what_earlier_calls_spent():
    agent, count = agents.make("l1", ToyPruning()), Count()
    agent.learn(Budget(episodes=2), count)
    agent.learn(Budget(episodes=2), count)
    assert count.numbers == [0, 1]
    agent.learn(Budget(episodes=3), count)
    assert count.numbers == [0, 1, 2]
    assert count.checkpoints == [1, 2, 3]
    assert agent.steps == 9
    agent.learn(Budget(steps=9), count)
    assert agent.episodes == 3


def test_another_environment_is_another_search():
    real, surrogate = ToyPruning(), ToyPruning()
    agent, count = agents.make("l1", real, seed=4), Count()
    agent.env = surrogate
    agent.learn(Budget(episodes=5), Count())
    agent.env = real
    agent.learn(Budget(episodes=2), count)
    assert count.numbers == [0, 1]
    other = ToyPruning()
    agents.make("l1", other, seed=4).learn(Budget(episodes=2))
    # The first reset was seeded again, so the layers are those of a new agent's search.
    assert (real.scale == other.scale).all()
