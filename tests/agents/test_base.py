"""Budgets, and the counters of a search."""

import pytest

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
    # It was seeded anew, and so saw the layers that a new agent sees.
    assert (real.scale == other.scale).all()


def test_the_clock_can_begin_anew():
    budget = Budget(seconds=100)
    assert not budget.spent(0, 0, 0)
    budget.restart_clock(spent=100)
    assert budget.spent(0, 0, 0)
    budget.restart_clock()
    assert not budget.spent(0, 0, 0)


@pytest.mark.parametrize("limits", [{}, {"episodes": 0}, {"seconds": -1}])
def test_budgets_without_or_below_a_limit_are_refused(limits):
    with pytest.raises(ValueError, match="budget"):
        Budget(**limits)
