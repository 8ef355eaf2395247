"""The numbers of a run that tables and figures show, and their aggregates over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.groups import Group, Row
from benchmarks.results import Result
from benchmarks.statistics import bootstrap_interval, hypervolume, iqm


@dataclass(frozen=True)
class Estimate:
    """The interquartile mean of some seeds' values with its 95 % bootstrap interval.

    Attributes:
        values: One for each seed.
        value: Their interquartile mean.
        low: Lower end of the interval; None for a single seed, which has none.
        high: Upper end.
    """

    values: tuple[float, ...]
    value: float
    low: float | None = None
    high: float | None = None


def estimate(*tasks: npt.ArrayLike) -> Estimate:
    """Aggregate seeds, of one task or of several.

    Args:
        tasks: Values of each task, one for each seed, shape (runs,).

    Raises:
        ValueError: A task without values.
    """
    strata = [np.asarray(values, np.float64) for values in tasks]
    pooled = tuple(float(value) for values in strata for value in values)
    value = float(iqm(strata))
    if max(values.size for values in strata) == 1:
        return Estimate(pooled, value)
    low, high = bootstrap_interval(strata)
    return Estimate(pooled, value, float(low), float(high))


def finished(run: Result) -> Mapping[str, Any]:
    """The report of a finished run."""
    assert run.report is not None
    return run.report


def measure(run: Result) -> dict[str, float]:
    """A finished run's numbers by name.

    Accuracies are shares, ratios say how many times less than unpruned. ``hypervolume`` is that
    of all networks that the search finished, of accuracy and the objective's cost as a share of
    the unpruned network's, with reference (0, 1).
    """
    report, last = finished(run), run.episodes[-1]
    accuracy, ratios = report["accuracy"], report["ratios"]
    done = [episode for episode in run.episodes if episode["complete"]]
    shares = [1 / episode["cost_ratio"] for episode in done]
    return {
        "after_search": accuracy["validation"]["after_search"],
        "validation": accuracy["validation"]["final"],
        "test": accuracy["test"]["final"],
        "params": ratios["params"],
        "macs": ratios["macs"],
        "macs_left": 1 / ratios["macs"],
        "latency": ratios["latency_ms"],
        "energy": ratios["energy_uj"],
        "search_macs": last["search_macs_total"],
        "wall": last["wall_seconds"],
        "device": last["device_seconds"],
        "episodes": len(run.episodes),
        "trials": last["trials"],
        "hypervolume": hypervolume([episode["accuracy"] for episode in done], shares),
    }


def meets_target(run: Result) -> bool:
    """Whether the final network meets the target; True where nothing is wanted."""
    return bool(finished(run).get("target", {}).get("met", True))


def within_tolerance(episode: Mapping[str, Any]) -> bool:
    """Whether an episode's last network lost no more accuracy than the reward tolerates.

    That is where the reward's accuracy term psi is 0 or more (docs/environment.md).
    """
    return bool(episode["steps"]) and episode["steps"][-1]["rewards"]["psi"] >= 0


def first_success(run: Result) -> Mapping[str, Any] | None:
    """The first episode whose network meets target and tolerance; None if there is none."""
    for episode in run.episodes:
        if episode["complete"] and episode["target_met"] and within_tolerance(episode):
            return episode
    return None


def best_run(rows: Sequence[Row]) -> tuple[Row, Result]:
    """The best network of some rows, chosen on validation alone.

    Of the networks that meet the target (of all, where none does) it is the one of the highest
    validation accuracy after the final fine-tune.

    Returns:
        Its row and run.
    """
    runs = [(row, run) for row in rows for run in row.runs]
    return max(runs, key=lambda pair: (meets_target(pair[1]), measure(pair[1])["validation"]))


def scratch_values(row: Row, name: str) -> list[float]:
    """Accuracies of a row's shapes trained from scratch.

    Args:
        row: The agent that found the shapes.
        name: ``"validation_accuracy"`` or ``"test_accuracy"``.

    Returns:
        One for each seed that has it.
    """
    records = [run.scratch for run in row.runs if run.scratch is not None]
    return [float(record[name]) for record in records if record.get(name) is not None]


def values_of(row: Row) -> dict[str, list[float]]:
    """All numbers of a row's runs, by name, one for each seed."""
    measured = [measure(run) for run in row.runs]
    return {name: [numbers[name] for numbers in measured] for name in measured[0]}


def spread(row: Row, episodes_value: str) -> list[np.ndarray]:
    """One number of every finished episode, an array for each run."""
    return [
        np.array([episode[episodes_value] for episode in run.episodes if episode["complete"]])
        for run in row.runs
    ]


def shared_scores(groups: Sequence[Group]) -> dict[str, list[npt.NDArray[np.float64]]]:
    """Test accuracy of the agents that ran in every group, as a share of the unpruned network's.

    Returns:
        An array of runs for each group, by the row's label; empty with fewer than two groups.
    """
    if len(groups) < 2:
        return {}
    by_label = [{row.label: row for row in group.rows} for group in groups]
    labels = [label for label in by_label[0] if all(label in rows for rows in by_label)]
    return {label: [_kept_accuracy(rows[label]) for rows in by_label] for label in labels}


def _kept_accuracy(row: Row) -> npt.NDArray[np.float64]:
    unpruned = finished(row.runs[0])["accuracy"]["test"]["unpruned"]
    return np.array(values_of(row)["test"]) / unpruned
