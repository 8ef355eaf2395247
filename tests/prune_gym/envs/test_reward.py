"""The formula of the reward, checked with numbers."""

import itertools
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_gym.costs import Costs
from prune_gym.envs.config import EnvConfig
from prune_gym.envs.reward import RewardFunction, TargetReward, make_reward

function = RewardFunction(0.9, tolerance=0.1, duration_weight=0.5, objective="latency")
FULL = Costs(1000, 1000, 100, 1.0, 1.0, 2000, 10)


def network(accuracy, latency=1.0, **costs):
    """Accuracy and costs of a network; by default those of the unpruned network."""
    return accuracy, Costs(**{**vars(FULL), "latency_ms": latency, **costs})


def paid(accuracy, before, after, batches, max_batches):
    """Reward of a step from one latency to another."""
    return function(network(0.9, before), network(accuracy, after), batches, max_batches)


def test_components_follow_the_formula():
    reward = paid(0.85, 8, 4, batches=3, max_batches=15)
    assert reward.psi == pytest.approx(0.5)
    assert reward.phi_prune == pytest.approx(math.log(2))
    assert reward.phi_duration == pytest.approx(math.log(16 / 4))
    assert reward.prune == pytest.approx(0.5 * math.log(2))
    assert reward.total == pytest.approx(0.5 * math.log(2) + 0.5 * 0.5 * math.log(4))
    assert sum(asdict(reward).values()) == pytest.approx(
        reward.psi
        + reward.phi_prune
        + reward.phi_duration
        + reward.prune
        + reward.duration
        + reward.total
    )


def test_the_accuracy_term_is_clipped():
    assert function.psi(0.95) == 1
    assert function.psi(0.8) == pytest.approx(0)
    assert function.psi(0.1) == -1


@given(st.floats(0, 0.799), st.floats(1, 100), st.floats(1, 100))
def test_after_a_collapse_a_larger_saving_earns_less(accuracy, less, more):
    low, high = sorted((less, more))
    first = paid(accuracy, high, high / low, 0, 10)
    second = paid(accuracy, high, high / high, 0, 10)
    assert first.prune < 0
    assert first.duration < 0
    assert second.prune <= first.prune
    assert function.score(accuracy, high) <= function.score(accuracy, low) < 0


def target_reward(weight=0.0, **shares):
    return TargetReward(0.9, 0.1, weight, "latency", FULL, shares)


def test_progress_towards_the_target_is_paid():
    reward = target_reward(macs=0.5)
    first = reward(network(0.9), network(0.88, macs=700), 0, 10)
    assert first.prune == pytest.approx(0.8 * math.log(1 / 0.7))
    # Costs below the target earn nothing, and the loss of accuracy reduces earlier rewards.
    second = reward(network(0.88, macs=700), network(0.86, macs=300), 0, 10)
    assert second.phi_prune == pytest.approx(math.log(0.7 / 0.5))
    assert second.prune == pytest.approx(0.6 * math.log(2) - first.prune)
    third = reward(network(0.86, macs=300), network(0.88, macs=200), 5, 10)
    assert third.phi_prune == 0
    assert third.prune == pytest.approx(0.2 * math.log(2))


def test_of_several_costs_the_farthest_from_its_limit_counts():
    reward = target_reward(macs=0.5, latency=0.25)
    assert reward(network(0.9), network(0.9, macs=500), 0, 1).prune == 0
    found = reward(network(0.9), network(0.9, latency=0.5), 0, 1).prune
    assert found == pytest.approx(math.log(2))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 1000)), min_size=1, max_size=6),
    st.floats(0.01, 1),
)
def test_rewards_of_an_episode_add_up_to_the_potential_of_its_network(steps, share):
    reward = target_reward(macs=share)
    states = [network(0.9), *(network(accuracy, macs=macs) for accuracy, macs in steps)]
    total = sum(reward(*pair, 0, 1).prune for pair in itertools.pairwise(states))
    assert total == pytest.approx(reward(states[0], states[-1], 0, 1).prune, abs=1e-9)


def test_the_configuration_names_the_reward():
    assert type(make_reward(EnvConfig(), 0.9, FULL)) is RewardFunction
    to_target = EnvConfig(reward="target", target={"macs": 0.5, "accuracy": 0.1})
    found = make_reward(to_target, 0.9, FULL)
    assert type(found) is TargetReward
    assert found.shares == {"macs": 0.5}
