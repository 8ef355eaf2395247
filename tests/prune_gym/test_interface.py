"""Every environment does what agents ask of it; budgets and agents check what they are given."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

import agents
import prune_gym  # noqa: F401
from agents.toy import ToyPruning
from prune_gym.interface import Budget, pruning_environment
from prune_gym.wrappers import FlatBoxAction


@pytest.fixture(params=["real", "surrogate", "toy"])
def env(request, make_tiny_env):
    if request.param == "surrogate":
        return gym.make("PruneResNet20-Surrogate-v0", target={"macs": 0.5})
    return make_tiny_env(target={"macs": 0.5}) if request.param == "real" else ToyPruning()


def test_an_episode_through_the_protocol(env):
    pruning = pruning_environment(env)
    assert pruning is env.unwrapped
    pruning.action_space.seed(0)
    pruning.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        before, actions = pruning.snapshot(), [pruning.action_space.sample() for _ in range(2)]
        tried = pruning.try_actions(actions)
        first = pruning.step(actions[0])
        pruning.restore(before)
        again = pruning.step(actions[0])
        assert data_equivalence(first[:2], again[:2], exact=True)
        assert [tried[0][0], tried[0][1]["rewards"]] == [again[1], again[4]["rewards"]]
        assert {"prune", "duration"} <= set(again[4]["rewards"])
        ended, steps = again[2], steps + 1
    assert steps == len(pruning.visited)
    assert len({space.name for space in pruning.visited}) == steps
    assert max(space.channels for space in pruning.visited) <= pruning.action_space["mask"].n
    assert np.isfinite(pruning.score())
    assert pruning.ratio_for_rest() is None


def test_what_an_environment_says_of_itself(env, request):
    kind, pruning = request.node.callspec.params["env"], pruning_environment(env)
    pruning.reset(seed=0)
    assert pruning.action_mode == "filters"
    assert pruning.predicted is (kind != "real")
    assert pruning.search_macs_total == 0
    assert pruning.ratio_for_target() == pruning.ratio_for_rest()
    assert (pruning.ratio_for_target() is None) is (kind == "toy")
    # The toy has no target.
    assert pruning.pays_to_target is (kind != "toy")


def test_pays_to_target(make_tiny_env):
    for arguments in (
        {},
        {"target": {"accuracy": 0.1}},
        {"target": {"macs": 0.5}, "reward": "step"},
    ):
        assert not pruning_environment(make_tiny_env(**arguments)).pays_to_target


def test_other_environments_are_refused():
    with pytest.raises(ValueError, match=r"CartPoleEnv is not .* lacks search_macs_total, .*score"):
        agents.make("l1", gym.make("CartPole-v1"))


@pytest.mark.parametrize("name", ["l1", "l2pf", "try_and_learn", "ppo"])
def test_an_action_wrapper_is_refused(name):
    with pytest.raises(ValueError, match="remove the action wrapper"):
        agents.make(name, FlatBoxAction(ToyPruning()))


@pytest.mark.parametrize("limits", [{}, {"episodes": 0}, {"steps": -1}, {"seconds": -1}])
def test_budgets_without_or_below_a_limit_are_refused(limits):
    name = next(iter(limits), "at least one limit")
    with pytest.raises(ValueError, match=f"budget.*{name}"):
        Budget(**limits)


def test_the_clock_can_restart():
    budget = Budget(seconds=100)
    assert not budget.spent(0, 0, 0)
    budget.restart_clock(spent=100)
    assert budget.spent(0, 0, 0)
    budget.restart_clock()
    assert not budget.spent(0, 0, 0)
