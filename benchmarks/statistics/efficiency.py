"""How good a search's best network is over what the search has cost so far."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.statistics.aggregate import iqm

Floats = npt.NDArray[np.float64]


def common_grid(spent: Sequence[npt.ArrayLike], most: int = 512) -> Floats:
    """The costs at which some run has something new, as one rising grid.

    Args:
        spent: For each run its rising ``search_macs_total``, shape (episodes,).
        most: Most points; of more, evenly spaced ones are kept, the ends among them.

    Returns:
        Shape (points,); empty where there are no episodes.
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
        accuracy: Of each episode's network, shape (episodes,).
        valid: Whether that network meets the target, shape (episodes,).
        grid: Costs to read the curve at, shape (points,).

    Returns:
        Shape (points,); NaN where nothing valid was found yet.

    Raises:
        ValueError: Shapes that differ, or costs that fall.
    """
    x = np.asarray(spent, np.float64)
    y, fine = np.asarray(accuracy, np.float64), np.asarray(valid, np.bool_)
    if not x.shape == y.shape == fine.shape or x.ndim != 1:
        raise ValueError(f"Shapes {x.shape}, {y.shape}, {fine.shape} must be one (episodes,).")
    if (np.diff(x) < 0).any():
        raise ValueError("The cost of a search never falls from one episode to the next.")
    best = np.maximum.accumulate(np.concatenate([[-np.inf], np.where(fine, y, -np.inf)]))
    read = best[np.searchsorted(x, np.asarray(grid, np.float64), side="right")]
    return np.where(np.isfinite(read), read, np.nan)


def aggregate_curves(curves: npt.ArrayLike) -> Floats:
    """The interquartile mean of runs' curves where every run has a value.

    A mean over those runs alone that were quick to find a network would flatter an agent, so the
    curve begins where the last of them has one (this project's choice).

    Args:
        curves: Of :func:`best_so_far` on one grid, shape (runs, points).

    Returns:
        Shape (points,); NaN where a run has no value.

    Raises:
        ValueError: There are no runs.
    """
    values = np.asarray(curves, np.float64)
    if values.ndim != 2 or not len(values):
        raise ValueError(f"Curves of shape {values.shape} must be (runs, points), one run or more.")
    whole = np.isfinite(values).all(axis=0)
    result = np.full(values.shape[1], np.nan)
    if whole.any():
        result[whole] = iqm([values[:, whole].T])
    return result
