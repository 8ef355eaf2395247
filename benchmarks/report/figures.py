"""Figures of a group: accuracies, Pareto front, sample efficiency, performance profiles."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from benchmarks.report.groups import Group, Row
from benchmarks.report.metrics import (
    estimate,
    finished,
    measure,
    scratch_values,
    spread,
    values_of,
)
from benchmarks.report.overall import shared_scores
from benchmarks.report.style import GREY, Style, clean
from benchmarks.report.tables import ranked
from benchmarks.results import Result
from benchmarks.statistics import (
    aggregate_curves,
    best_so_far,
    bootstrap_interval,
    common_grid,
    iqm,
    pareto_front,
    performance_profile,
)

Styles = Mapping[str, Style]
OBJECTIVES = {"edp": "energy-delay product", "macs": "MACs", "params": "parameters"}


def accuracy_figure(group: Group, styles: Styles) -> Figure:
    """Every seed's accuracy on the test split, with mean and interval, one line an agent."""
    lines: list[tuple[str, list[float], Style]] = []
    for row in ranked(group.rows):
        style = styles[row.label]
        lines.append((row.label, values_of(row)["test"], style))
        scratch = scratch_values(row, "test_accuracy")
        if scratch:
            lines.append((f"scratch: shape of {row.label}", scratch, Style(GREY, "x", "--")))
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for place, (_, values, style) in enumerate(lines):
        found = estimate(values)
        assert found is not None
        if found.low is not None:
            axes.plot(
                [found.low, found.high],
                [place, place],
                color=style.colour,
                linewidth=6,
                alpha=0.3,
                solid_capstyle="butt",
            )
        axes.plot(
            values,
            [place] * len(values),
            linestyle="",
            marker=style.marker,
            color=style.colour,
            markersize=5,
            alpha=0.8,
        )
        axes.plot([found.value] * 2, [place - 0.3, place + 0.3], color=style.colour, linewidth=2)
    unpruned = finished(group.runs[0])["accuracy"]["test"]["unpruned"]
    axes.axvline(unpruned, color=GREY, linestyle=":", label=f"unpruned, {unpruned:.2%}")
    axes.set_yticks(range(len(lines)), [name for name, _, _ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xlabel("test accuracy behind the final fine-tune (%)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0)
    clean(axes)
    axes.grid(False, axis="y")
    return figure


def pareto_figure(group: Group, styles: Styles) -> Figure:
    """Accuracy over cost: all networks of the searches with fronts, and the finished networks."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    search, final = figure.subplots(1, 2)
    for row in group.rows:
        style = styles[row.label]
        cost = 1 / np.concatenate(spread(row, "cost_ratio"))
        accuracy = np.concatenate(spread(row, "accuracy"))
        front = pareto_front(accuracy, cost)
        search.plot(cost, accuracy, style.marker, color=style.colour, markersize=3, alpha=0.25)
        search.plot(
            cost[front],
            accuracy[front],
            style.line,
            color=style.colour,
            marker=style.marker,
            markersize=5,
            drawstyle="steps-post",
        )
        shares = [_share(run) for run in row.runs]
        final.plot(
            shares,
            [measure(run)["test"] for run in row.runs],
            style.marker,
            color=style.colour,
            markersize=7,
            alpha=0.85,
            label=row.label,
        )
        scratch = [
            (_share(run), run.scratch["test_accuracy"])
            for run in row.runs
            if run.scratch is not None and run.scratch.get("test_accuracy") is not None
        ]
        if scratch:
            final.plot(
                *zip(*scratch, strict=True),
                "x",
                color=style.colour,
                markersize=7,
                label=f"scratch: shape of {row.label}",
            )
    unpruned = finished(group.runs[0])["accuracy"]["test"]["unpruned"]
    final.axhline(unpruned, color=GREY, linestyle=":", label="unpruned, at 100 %")
    name = OBJECTIVES.get(group.key.objective, group.key.objective)
    for axes, title in (
        (search, "accuracy in the search (%)"),
        (final, "test accuracy, final (%)"),
    ):
        axes.set_xlabel(f"{name}, share of the unpruned network's (%)")
        axes.set_ylabel(title)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.margins(0.08)
        clean(axes)
    _legend(figure, final)
    return figure


def _share(run: Result) -> float:
    """The final network's cost in the objective as a share of the unpruned one's."""
    from prune_gym.costs import Costs

    report = finished(run)
    now, full = (Costs(**report["costs"][which]) for which in ("final", "unpruned"))
    return now.of(report["objective"]) / full.of(report["objective"])


def efficiency_figure(group: Group, styles: Styles) -> Figure:
    """Best accuracy so far of networks that meet the target, over what the search has spent."""
    figure = Figure(figsize=(9, 4.6), layout="constrained")
    axes = figure.subplots()
    ends = []
    for row in group.rows:
        style, curves = styles[row.label], _curves(row)
        if curves is None:
            axes.plot([], [], style.line, color=style.colour, label=f"{row.label}: never met")
            continue
        grid, values, count = curves
        shown = np.isfinite(values).all(axis=0)
        grid, values = grid[shown], values[:, shown]
        label = row.label if count == len(row.runs) else f"{row.label}: {count} of {len(row.runs)}"
        axes.plot(
            grid,
            aggregate_curves(values),
            style.line,
            color=style.colour,
            linewidth=1.8,
            drawstyle="steps-post",
            label=label,
        )
        axes.plot(grid[-1], aggregate_curves(values)[-1], style.marker, color=style.colour)
        if count > 1:
            low, high = bootstrap_interval(
                [np.arange(count)], partial(_resampled, values), repetitions=500
            )
            axes.fill_between(
                grid, low, high, step="post", color=style.colour, alpha=0.15, linewidth=0
            )
        ends += [grid[0], grid[-1]]
    if ends and max(ends) > 20 * min(ends) > 0:
        axes.set_xscale("log")
    axes.set_xlabel("MACs spent by the search")
    axes.set_ylabel("best accuracy so far (%)")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    clean(axes)
    _legend(figure, axes)
    return figure


def _curves(row: Row) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Grid, curves (runs, points) and number of the runs that ever meet the target."""
    reached = [
        run
        for run in row.runs
        if any(episode["complete"] and episode["target_met"] for episode in run.episodes)
    ]
    if not reached:
        return None
    columns = []
    for run in reached:
        spent = [episode["search_macs_total"] for episode in run.episodes]
        accuracy = [episode["accuracy"] for episode in run.episodes]
        valid = [episode["complete"] and episode["target_met"] for episode in run.episodes]
        columns.append((spent, accuracy, valid))
    grid = common_grid([spent for spent, _, _ in columns])
    return grid, np.array([best_so_far(*column, grid) for column in columns]), len(reached)


def _resampled(curves: np.ndarray, drawn: Sequence[np.ndarray]) -> np.ndarray:
    """Aggregates of resampled runs' curves, shape (repetitions, points)."""
    return iqm([np.moveaxis(curves[drawn[0].astype(int)], 1, -1)])


def profile_figure(groups: Sequence[Group], styles: Styles) -> Figure | None:
    """Share of runs above each level of accuracy, over all groups.

    Returns:
        None where no agent ran in every one of two groups or more.
    """
    tasks = shared_scores(groups)
    if not tasks:
        return None
    pooled = np.concatenate([runs for strata in tasks.values() for runs in strata])
    margin = max(0.02, 0.05 * float(np.ptp(pooled)))
    thresholds = np.linspace(pooled.min() - margin, pooled.max() + margin, 400)
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    for label, strata in tasks.items():
        style = styles[label]
        axes.plot(
            thresholds,
            performance_profile(strata, thresholds),
            style.line,
            color=style.colour,
            linewidth=1.8,
            drawstyle="steps-post",
            label=label,
        )
        if max(len(runs) for runs in strata) > 1:
            low, high = bootstrap_interval(
                strata, lambda drawn: performance_profile(drawn, thresholds), repetitions=500
            )
            axes.fill_between(
                thresholds, low, high, step="post", color=style.colour, alpha=0.15, linewidth=0
            )
    axes.set_xlabel("test accuracy, final, as a share of the unpruned network's (%)")
    axes.set_ylabel("runs above it (%)")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    clean(axes)
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
