"""Aggregates over runs and tasks, with bootstrap intervals (Agarwal et al. 2021).

Scores are strata: one array of runs for each task, of shape (..., runs). The functions work element
by element over the further axes; the bootstrap puts its resamples there. A task without runs or a
score that is not finite is a ValueError.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Strata = Sequence[npt.ArrayLike]
Floats = npt.NDArray[np.float64]

REPETITIONS = 2000


class Interval(NamedTuple):
    """A confidence interval: its lower and upper end."""

    low: Any
    high: Any


def iqm(strata: Strata) -> Floats:
    """The interquartile mean of all runs of all tasks: the mean of the middle half, shape (...).

    The lowest and the highest quarter, each rounded down to whole runs, are left out. With fewer
    than four runs it is therefore the mean.

    Source: Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical
    Precipice", NeurIPS 2021, section 4.3.
    """
    pooled = np.concatenate(_checked(strata), axis=-1)
    cut = pooled.shape[-1] // 4
    middle = np.sort(pooled, axis=-1)[..., cut : pooled.shape[-1] - cut]
    return np.asarray(middle.mean(-1), np.float64)


def performance_profile(strata: Strata, thresholds: npt.ArrayLike) -> Floats:
    """The share of runs with a score above each threshold, averaged over tasks of equal weight.

    Args:
        strata: Scores.
        thresholds: Shape (thresholds,).

    Returns:
        Shape (..., thresholds); never rising from one threshold to a higher one.

    Source: Agarwal et al. 2021, section 4.2 (the run-score distribution).
    """
    bounds = np.asarray(thresholds, np.float64)
    shares = [(runs[..., None, :] > bounds[:, None]).mean(-1) for runs in _checked(strata)]
    return np.asarray(np.mean(shares, axis=0), np.float64)


def probability_of_improvement(first: Strata, second: Strata) -> Floats:
    """The probability that a run of the first agent beats one of the second on the same task.

    For each task it is the share of pairs of runs that the first one wins, a tie being half a
    win (the Mann-Whitney U over the number of pairs); tasks weigh the same.

    Args:
        first: Scores of the first agent.
        second: Scores of the second on the same tasks; the number of runs may differ.

    Returns:
        Shape (...), 0 to 1; for swapped agents it is one minus that.

    Source: Agarwal et al. 2021, section 4.3; Mann and Whitney 1947 for U.
    """
    wins = []
    for x, y in zip(_checked(first), _checked(second), strict=True):
        difference = x[..., :, None] - y[..., None, :]
        wins.append(((difference > 0) + 0.5 * (difference == 0)).mean((-2, -1)))
    return np.asarray(np.mean(wins, axis=0), np.float64)


def bootstrap_interval(
    strata: Strata,
    statistic: Callable[[Sequence[Floats]], npt.ArrayLike] = iqm,
    level: float = 0.95,
    repetitions: int = REPETITIONS,
    seed: int = 0,
) -> Interval:
    """The percentile interval of a statistic under a stratified bootstrap.

    Runs are drawn with replacement within each task, never across tasks. If every task has a single
    run, the interval is one point, and callers should show none.

    Args:
        strata: Scores by task, each of shape (runs,).
        statistic: Function of resampled strata, each of shape (repetitions, runs), that returns
            shape (repetitions, ...).
        level: Coverage of the interval, 0 to 1.
        repetitions: Number of resamples.
        seed: Seed of the resamples.

    Returns:
        The ends, each of the statistic's shape without the repetitions.

    Source: Agarwal et al. 2021, section 4.1; Efron and Tibshirani 1993 for the percentiles.
    """
    rng = np.random.default_rng(seed)
    drawn = [
        runs[rng.integers(0, runs.size, (repetitions, runs.size))] for runs in _checked(strata)
    ]
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(np.asarray(statistic(drawn)), [tail, 100 - tail], axis=0)
    return Interval(low, high)


def _checked(strata: Strata) -> list[Floats]:
    arrays = [np.asarray(runs, np.float64) for runs in strata]
    if not arrays:
        raise ValueError("There are no tasks, so there is nothing to aggregate.")
    for task, runs in enumerate(arrays):
        if runs.ndim == 0 or runs.shape[-1] == 0:
            raise ValueError(f"Task {task} has no runs: leave it out, or run it.")
        if not np.isfinite(runs).all():
            raise ValueError(f"Task {task} has a score that is not finite: {runs.min()}.")
    return arrays
