"""Accuracy of a search's best network over the cost of the search."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.statistics.aggregate import iqm

Floats = npt.NDArray[np.float64]


def common_grid(spent: Sequence[npt.ArrayLike], most: int = 512) -> Floats:
    """The costs at which any run finished an episode, as one rising grid.

    Args:
        spent: Rising ``search_macs_total`` of each run, shape (episodes,).
        most: Largest number of points; of more, evenly spaced ones are kept, ends included.

    Returns:
        Shape (points,); empty without episodes.
    """
    points = [np.asarray(run, np.float64).ravel() for run in spent]
    grid = np.unique(np.concatenate(points)) if points else np.empty(0)
    if grid.size <= most:
        return grid
    return grid[np.unique(np.linspace(0, grid.size - 1, most).round().astype(int))]


def best_so_far(
    spent: npt.ArrayLike, accuracy: npt.ArrayLike, valid: npt.ArrayLike, grid: npt.ArrayLike
) -> Floats:
    """A run's best accuracy among the valid networks that it had found at each cost.

    A network counts from the cost at which its episode had ended, and stays found.

    Args:
        spent: Cost of the search after each episode, not falling, shape (episodes,).
        accuracy: Accuracy of each episode's network, shape (episodes,).
        valid: Whether each network meets the target, shape (episodes,).
        grid: Costs of the curve's points, shape (points,).

    Returns:
        Shape (points,); NaN before the first valid network.
    """
    reached = np.where(valid, np.asarray(accuracy, np.float64), -np.inf)
    best = np.maximum.accumulate(np.concatenate([[-np.inf], reached]))
    read = best[np.searchsorted(spent, grid, side="right")]
    return np.where(np.isfinite(read), read, np.nan)


def aggregate_curves(curves: npt.ArrayLike) -> Floats:
    """The interquartile mean of runs' curves at points where every run has a value.

    A mean over the runs that found a network early would favour an agent, so the curve begins
    when the last run has one (this project's choice).

    Args:
        curves: Curves of :func:`best_so_far` on one grid, shape (runs, points).

    Returns:
        Shape (points,); NaN where a run has no value.
    """
    values = np.asarray(curves, np.float64)
    whole = np.isfinite(values).all(axis=0)
    result = np.full(values.shape[1], np.nan)
    if whole.any():
        result[whole] = iqm([values[:, whole].T])
    return result
