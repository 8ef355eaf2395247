"""Numbers of runs that tables and figures show, and their aggregates over seeds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.groups import Group, Row
from benchmarks.results import Result
from benchmarks.statistics.aggregate import bootstrap_interval, iqm
from benchmarks.statistics.pareto import hypervolume
from prune_gym.runs.records import Episode, Report


@dataclass(frozen=True)
class Estimate:
    """The interquartile mean of seeds' values with its 95 % bootstrap interval.

    A single seed has no interval.
    """

    values: tuple[float, ...]
    value: float
    low: float | None = None
    high: float | None = None


def estimate(*tasks: npt.ArrayLike) -> Estimate:
    """Aggregate seeds: for each task an array of values, shape (runs,), one or more."""
    strata = [np.asarray(values, np.float64) for values in tasks]
    pooled = tuple(float(value) for values in strata for value in values)
    value = float(iqm(strata))
    if max(values.size for values in strata) == 1:
        return Estimate(pooled, value)
    low, high = bootstrap_interval(strata)
    return Estimate(pooled, value, float(low), float(high))


def finished(run: Result) -> Report:
    """The report of a finished run."""
    assert run.report is not None
    return run.report


def measure(run: Result) -> dict[str, float]:
    """A finished run's numbers by name.

    Accuracies are shares; ratios are the unpruned network's cost over the final one's.
    ``hypervolume`` is that of all networks of the search, of accuracy and the objective's cost as a
    share of the unpruned network's, with reference (0, 1).
    """
    report, last = finished(run), run.episodes[-1]
    ratios = report.ratios
    done = [episode for episode in run.episodes if episode.complete]
    shares = [1 / run.setup.ratio(episode.costs) for episode in done]
    assert report.validation.after_search is not None
    return {
        "after_search": report.validation.after_search,
        "validation": report.validation.final,
        "test": report.test.final,
        "params": ratios["params"],
        "macs": ratios["macs"],
        "macs_left": 1 / ratios["macs"],
        "latency": ratios["latency_ms"],
        "energy": ratios["energy_uj"],
        "search_macs": last.search_macs_total,
        "searched": report.compute.searched,
        "compute": report.compute.total,
        "wall": last.wall_seconds,
        "device": last.device_seconds,
        "hypervolume": hypervolume([episode.accuracy for episode in done], shares),
    }


def meets_target(run: Result) -> bool:
    """Whether the final network meets the target; True without one."""
    return finished(run).target.met


def valid(run: Result, episode: Episode) -> bool:
    """Whether an episode's network is complete and meets the target."""
    setup = run.setup
    return episode.complete and setup.target(episode.accuracy, episode.costs).met


def first_success(run: Result) -> Episode | None:
    """The first episode whose network meets target and tolerance; None if there is none.

    A network is within the tolerance if the reward's accuracy term psi is 0 or more
    (docs/environment.md).
    """
    fine = (e for e in run.episodes if valid(run, e) and run.setup.psi(e.accuracy) >= 0)
    return next(fine, None)


def best_run(rows: Sequence[Row]) -> tuple[Row, Result]:
    """Row and run of the best network, chosen on validation alone.

    Of the networks that meet the target (of all, if none does) it has the highest validation
    accuracy after the final fine-tune.
    """
    runs = [(row, run) for row in rows for run in row.runs]
    return max(runs, key=lambda pair: (meets_target(pair[1]), measure(pair[1])["validation"]))


def scratch_values(row: Row) -> list[float]:
    """Test accuracies of a row's shapes trained from scratch, one for each seed that has it."""
    return [run.scratch.test_accuracy for run in row.runs if run.scratch is not None]


def values_of(row: Row) -> dict[str, list[float]]:
    """All numbers of a row's runs, by name, one for each seed."""
    measured = [measure(run) for run in row.runs]
    return {name: [numbers[name] for numbers in measured] for name in measured[0]}


def shared_scores(groups: Sequence[Group]) -> dict[str, list[npt.NDArray[np.float64]]]:
    """Test accuracy of the agents that ran in every group, as a share of the unpruned network's.

    Returns:
        An array of runs for each group, by the row's label; empty with fewer than two groups.
    """
    if len(groups) < 2:
        return {}
    by_label = [{row.label: row for row in group.rows} for group in groups]
    labels = [label for label in by_label[0] if all(label in rows for rows in by_label)]

    def kept(row: Row) -> npt.NDArray[np.float64]:
        return np.array(values_of(row)["test"]) / finished(row.runs[0]).test.unpruned

    return {label: [kept(rows[label]) for rows in by_label] for label in labels}
