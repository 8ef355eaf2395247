"""Against closed forms, scipy, brute force, and properties that must hold for any scores."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from benchmarks.statistics.aggregate import (
    bootstrap_interval,
    iqm,
    performance_profile,
    probability_of_improvement,
)

runs = hnp.arrays(np.float64, st.integers(1, 9), elements=st.floats(-100, 100).map(round))
tasks = st.lists(runs, min_size=1, max_size=3)


def test_iqm_is_the_mean_of_the_middle_half():
    assert iqm([[100, 1, 2, 3, 4, 5, 6, -50]]) == 3.5
    assert iqm([[1, 2], [3, 100]]) == 2.5
    assert iqm([[1, 2, 6]]) == 3


@given(tasks)
def test_iqm_is_scipys_and_lies_among_the_scores(strata):
    pooled = np.concatenate(strata)
    value = float(iqm(strata))
    assert value == pytest.approx(stats.trim_mean(pooled, 0.25))
    assert pooled.min() - 1e-9 <= value <= pooled.max() + 1e-9
    assert float(iqm([3 * scores + 1 for scores in strata])) == pytest.approx(3 * value + 1)


@given(tasks)
def test_profile_by_counting(strata):
    thresholds = np.linspace(-101, 101, 23)
    profile = performance_profile(strata, thresholds)
    for threshold, share in zip(thresholds, profile, strict=True):
        counted = [sum(x > threshold for x in scores) / len(scores) for scores in strata]
        assert share == pytest.approx(sum(counted) / len(counted))
    assert profile[0] == 1
    assert profile[-1] == 0
    assert (np.diff(profile) <= 0).all()


@given(st.lists(st.tuples(runs, runs), min_size=1, max_size=3))
def test_probability_of_improvement_is_mann_whitneys(pairs):
    first, second = [list(side) for side in zip(*pairs, strict=True)]
    expected = np.mean([stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)) for x, y in pairs])
    value = probability_of_improvement(first, second)
    assert value == pytest.approx(expected)
    assert probability_of_improvement(second, first) == pytest.approx(1 - value)


def test_probability_of_improvement_in_plain_cases():
    assert probability_of_improvement([[2, 3]], [[0, 1]]) == 1
    assert probability_of_improvement([[1, 1]], [[1]]) == 0.5
    # One task won, one lost: neither agent is the better one, whatever the numbers of runs.
    assert probability_of_improvement([[1] * 9, [0]], [[0], [1]]) == 0.5


def test_interval_is_that_of_all_resamples():
    scores = np.array([0.0, 1.0, 4.0])
    exact = [np.mean(draw) for draw in itertools.product(scores, repeat=3)]
    for level in (0.95, 0.7, 0.5):
        tails = 50 * (1 - level), 50 * (1 + level)
        expected = np.percentile(exact, tails, method="inverted_cdf")
        found = bootstrap_interval([scores], level=level, repetitions=40_000)
        assert found == pytest.approx(tuple(expected))


def test_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(300):
        low, high = bootstrap_interval(
            [rng.normal(5, 1, 30)], lambda s: s[0].mean(-1), repetitions=300, seed=trial
        )
        hits += low <= 5 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_resampling_stays_within_tasks():
    # Between the tasks lies a wide gap, within them none: every resample has the same mean.
    assert bootstrap_interval([[0, 0, 0], [9, 9, 9]]) == (4.5, 4.5)


def test_same_seed_same_interval_and_statistics_of_other_shapes():
    scores = [np.sqrt(np.arange(17.0)), np.exp(np.arange(4.0))]
    assert bootstrap_interval(scores, seed=3) == bootstrap_interval(scores, seed=3)
    assert bootstrap_interval(scores, seed=3) != bootstrap_interval(scores, seed=4)
    low, high = bootstrap_interval(scores, lambda s: performance_profile(s, [0, 3, 99]))
    assert low.shape == high.shape == (3,)
    assert (low <= high).all()
    assert low[2] == high[2] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iqm([]), "no tasks"),
        (lambda: iqm([[1.0], []]), "Task 1 has no runs"),
        (lambda: iqm([[1.0, np.nan]]), "not finite"),
        (lambda: probability_of_improvement([[1]], [[1], [2]]), "zip"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_against_rliable():
    reason = "rliable is archived and does not install beside current packages"
    metrics = pytest.importorskip("rliable.metrics", reason=reason, exc_type=ImportError)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 3)), rng.normal(0.3, size=(5, 3))  # runs by tasks
    assert float(iqm(list(x.T))) == pytest.approx(metrics.aggregate_iqm(x))
    ours = float(probability_of_improvement(list(x.T), list(y.T)))
    assert ours == pytest.approx(metrics.probability_of_improvement(x, y))
