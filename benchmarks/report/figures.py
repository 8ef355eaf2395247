"""Figures over seeds and groups: accuracies, and performance profiles."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.report.groups import Group
from benchmarks.report.metrics import estimate, finished, scratch_values, values_of
from benchmarks.report.overall import shared_scores
from benchmarks.report.style import GREY, Styles, clean, outside_legend, percent
from benchmarks.report.tables import ranked
from benchmarks.statistics import bootstrap_interval, performance_profile


def accuracy_figure(group: Group, styles: Styles) -> Figure:
    """Every seed's accuracy on the test split, with mean and interval, one line an agent."""
    rows = ranked(group.rows)
    lines = [(row.label, values_of(row)["test"], styles[row.label]) for row in rows]
    figure = Figure(figsize=(9, 1.1 + 0.42 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for place, (_, values, style) in enumerate(lines):
        found = estimate(values)
        assert found is not None
        if found.low is not None and found.high is not None:
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
    scratch = [
        (value, place)
        for place, row in enumerate(rows)
        for value in scratch_values(row, "test_accuracy")
    ]
    if scratch:
        axes.plot(*zip(*scratch, strict=True), "x", color=GREY, label="same shape from scratch")
    unpruned = finished(group.runs[0])["accuracy"]["test"]["unpruned"]
    axes.axvline(unpruned, color=GREY, linestyle=":", label=f"unpruned, {unpruned:.2%}")
    axes.set_yticks(range(len(lines)), [name for name, _, _ in lines])
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.xaxis.set_major_formatter(percent)
    axes.set_xlabel("test accuracy after the final fine-tune (%)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0, ncols=2)
    clean(axes)
    axes.grid(False, axis="y")
    return figure


def profile_figure(groups: Sequence[Group], styles: Styles) -> Figure:
    """Share of runs above each level of accuracy, over two groups or more that share agents."""
    tasks = shared_scores(groups)
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
    axes.xaxis.set_major_formatter(percent)
    axes.yaxis.set_major_formatter(percent)
    clean(axes)
    outside_legend(figure, axes)
    return figure
