"""Figures over seeds and groups: accuracies, cost, sample efficiency, performance profiles."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from benchmarks import metrics
from benchmarks.groups import Group, Row
from benchmarks.leaderboard import ranked
from benchmarks.report.style import GREY, Style, Styles, band, clean, curve, outside_legend
from benchmarks.results import Result
from benchmarks.statistics.aggregate import bootstrap_interval, iqm, performance_profile
from benchmarks.statistics.efficiency import aggregate_curves, best_so_far, common_grid
from benchmarks.statistics.pareto import pareto_front

Floats = npt.NDArray[np.float64]
NAMES = {"edp": "energy-delay product", "macs": "MACs", "params": "parameters"}


def accuracy_figure(group: Group, styles: Styles) -> Figure:
    """Every seed's accuracy on the test split, with mean and interval, one line an agent."""
    rows = [entry.row for entry in ranked(group)]
    lines = [(row.label, metrics.values_of(row)["test"], styles[row.label]) for row in rows]
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for place, (_, values, style) in enumerate(lines):
        found = metrics.estimate(values)
        if found.low is not None and found.high is not None:
            wide: dict[str, Any] = {"linewidth": 6, "alpha": 0.3, "solid_capstyle": "butt"}
            axes.plot([found.low, found.high], [place] * 2, color=style.colour, **wide)
        axes.plot(
            values, [place] * len(values), style.marker, color=style.colour, markersize=5, alpha=0.8
        )
        axes.plot([found.value] * 2, [place - 0.3, place + 0.3], color=style.colour, linewidth=2)
    scratch = [(y, place) for place, row in enumerate(rows) for y in metrics.scratch_values(row)]
    if scratch:
        axes.plot(*zip(*scratch, strict=True), "x", color=GREY, label="same shape from scratch")
    unpruned = metrics.finished(group.runs[0]).test.unpruned
    axes.axvline(unpruned, color=GREY, linestyle=":", label=f"unpruned, {unpruned:.2%}")
    axes.set_yticks(range(len(lines)), [name for name, _, _ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0, ncols=2)
    clean(axes, "test accuracy after the final fine-tune (%)")
    axes.grid(False, axis="y")
    return figure


def profile_figure(groups: Sequence[Group], styles: Styles) -> Figure:
    """Share of runs above each level of accuracy, over two groups or more that share agents."""
    tasks = metrics.shared_scores(groups)
    pooled = np.concatenate([runs for strata in tasks.values() for runs in strata])
    margin = max(0.02, 0.05 * float(np.ptp(pooled)))
    thresholds = np.linspace(pooled.min() - margin, pooled.max() + margin, 400)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, strata in tasks.items():
        shares = partial(performance_profile, thresholds=thresholds)
        curve(axes, thresholds, shares(strata), styles[label], label)
        if max(len(runs) for runs in strata) > 1:
            interval = bootstrap_interval(strata, shares, repetitions=500)
            band(axes, thresholds, interval, styles[label])
    share = "test accuracy, final, as a share of the unpruned network's (%)"
    clean(axes, share, "runs above it (%)")
    outside_legend(figure, axes)
    return figure


def pareto_figure(group: Group, styles: Styles) -> Figure:
    """Accuracy over cost: all networks of the searches with fronts, and the finished networks."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    search, final = figure.subplots(1, 2)
    for row in group.rows:
        _draw_search(search, row, styles[row.label])
        _draw_finished(final, row, styles[row.label])
    if any(run.scratch is not None for run in group.runs):
        final.plot([], [], "x", color=GREY, label="that shape from scratch")
    unpruned = metrics.finished(group.runs[0]).test.unpruned
    final.axhline(unpruned, color=GREY, linestyle=":", label="unpruned, at 100 %")
    name = NAMES.get(group.key.objective, group.key.objective)
    for axes, title in ((search, "accuracy in the search (%)"), (final, "final test accuracy (%)")):
        axes.margins(0.08)
        clean(axes, f"{name}, share of the unpruned network's (%)", title)
    outside_legend(figure, final)
    return figure


def _draw_search(axes: Any, row: Row, style: Style) -> None:
    """All networks of a row's searches, and their front."""
    done = [(run, each) for run in row.runs for each in run.episodes if each.complete]
    cost = 1 / np.array([run.setup.ratio(episode.costs) for run, episode in done])
    accuracy = np.array([episode.accuracy for _, episode in done])
    front = pareto_front(accuracy, cost)
    look = {"color": style.colour, "marker": style.marker}
    axes.plot(cost, accuracy, linestyle="", markersize=3, alpha=0.25, **look)
    look |= {"drawstyle": "steps-post"}
    axes.plot(cost[front], accuracy[front], style.line, markersize=5, **look)


def _draw_finished(axes: Any, row: Row, style: Style) -> None:
    """A row's networks after the final fine-tune, and their shapes from scratch."""
    points = [(_share(run), metrics.measure(run)["test"]) for run in row.runs]
    look = {"linestyle": "", "color": style.colour, "markersize": 7, "alpha": 0.85}
    axes.plot(*zip(*points, strict=True), marker=style.marker, label=row.label, **look)
    scratch = [(_share(run), run.scratch.test_accuracy) for run in row.runs if run.scratch]
    if scratch:
        axes.plot(*zip(*scratch, strict=True), marker="x", **look)


def _share(run: Result) -> float:
    """The final network's cost in the objective as a share of the unpruned one's."""
    objective = run.setup.environment.objective
    return metrics.finished(run).costs.of(objective) / run.setup.costs.of(objective)


def efficiency_figure(group: Group, styles: Styles) -> Figure:
    """Best accuracy so far of networks that meet the target, over what the search has spent."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    ends = []
    for row in group.rows:
        style, curves = styles[row.label], _curves(row)
        if curves is None:
            axes.plot([], [], style.line, color=style.colour, label=f"{row.label}: never")
            continue
        grid, values, count = curves
        shown = np.isfinite(values).all(axis=0)
        grid, values = grid[shown], values[:, shown]
        label = row.label if count == len(row.runs) else f"{row.label}: {count} of {len(row.runs)}"
        last = {"marker": style.marker, "markevery": [-1]}
        curve(axes, grid, aggregate_curves(values), style, label, **last)
        if count > 1:
            aggregate = partial(_resampled, values)
            interval = bootstrap_interval([np.arange(count)], aggregate, repetitions=500)
            band(axes, grid, interval, style)
        ends += [grid[0], grid[-1]]
    if ends and max(ends) > 20 * min(ends) > 0:
        axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter())
    clean(axes, "MACs spent by the search", "best accuracy so far (%)")
    outside_legend(figure, axes)
    return figure


def _curves(row: Row) -> tuple[Floats, Floats, int] | None:
    """Grid, curves (runs, points) and number of the runs that ever meet the target."""
    reached = [run for run in row.runs if any(metrics.valid(run, each) for each in run.episodes)]
    if not reached:
        return None
    columns = []
    for run in reached:
        spent = [episode.search_macs_total for episode in run.episodes]
        accuracy = [episode.accuracy for episode in run.episodes]
        columns.append((spent, accuracy, [metrics.valid(run, episode) for episode in run.episodes]))
    grid = common_grid([spent for spent, _, _ in columns])
    return grid, np.array([best_so_far(*column, grid) for column in columns]), len(reached)


def _resampled(curves: Floats, drawn: Sequence[Floats]) -> Floats:
    """Aggregates of resampled runs' curves, shape (repetitions, points)."""
    return iqm([np.moveaxis(curves[drawn[0].astype(int)], 1, -1)])
