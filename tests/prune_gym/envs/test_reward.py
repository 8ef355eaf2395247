"""The reward's formula, number by number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_gym.envs.reward import RewardFunction

function = RewardFunction(baseline_accuracy=0.9, tolerance=0.1, duration_weight=0.5)


def test_numbers():
    reward = function(0.85, cost_before=8, cost_after=4, batches=3, max_batches=15)
    assert reward.psi == pytest.approx(0.5)
    assert reward.phi_prune == pytest.approx(math.log(2))
    assert reward.phi_duration == pytest.approx(math.log(16 / 4))
    assert reward.prune == pytest.approx(0.5 * math.log(2))
    assert reward.total == pytest.approx(0.5 * math.log(2) + 0.5 * 0.5 * math.log(4))
    assert sum(reward.as_dict().values()) == pytest.approx(
        reward.psi
        + reward.phi_prune
        + reward.phi_duration
        + reward.prune
        + reward.duration
        + reward.total
    )


def test_no_accuracy_is_worth_more_than_the_baselines():
    assert function.psi(0.95) == 1
    assert function.psi(0.8) == pytest.approx(0)
    assert function.psi(0.1) == -1


@given(st.floats(0, 0.799), st.floats(1, 100), st.floats(1, 100))
def test_collapse_never_scores_and_saving_more_makes_it_worse(accuracy, less, more):
    low, high = sorted((less, more))
    first = function(accuracy, high, high / low, 0, 10)
    second = function(accuracy, high, high / high, 0, 10)
    assert first.prune < 0
    assert first.duration < 0
    assert second.prune <= first.prune
    assert function.score(accuracy, high) <= function.score(accuracy, low) < 0


@pytest.mark.parametrize("arguments", [(0.9, 0, 0.1), (0.9, 1.1, 0.1), (0.9, 0.1, -1)])
def test_bad_constants_are_refused(arguments):
    with pytest.raises(ValueError, match=r"tolerance|duration_weight"):
        RewardFunction(*arguments)
