"""Agents over several groups at once: what they keep of the unpruned networks' accuracy."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.report.cells import Cell, Line, Table, between, cell, percent
from benchmarks.report.groups import CONTROLS, Group, Row
from benchmarks.report.metrics import Estimate, finished, values_of
from benchmarks.statistics import bootstrap_interval, iqm, probability_of_improvement

Scores = list[npt.NDArray[np.float64]]


def shared_scores(groups: Sequence[Group]) -> dict[str, Scores]:
    """Test accuracy of the agents that ran in every group, as a share of the unpruned network's.

    Returns:
        For each label an array of runs for each group; empty with fewer than two groups.
    """
    if len(groups) < 2:
        return {}
    by_label = [{row.label: row for row in group.rows} for group in groups]
    labels = [label for label in by_label[0] if all(label in rows for rows in by_label)]
    return {label: [_scores(rows[label]) for rows in by_label] for label in labels}


def _scores(row: Row) -> npt.NDArray[np.float64]:
    unpruned = finished(row.runs[0])["accuracy"]["test"]["unpruned"]
    return np.array(values_of(row)["test"]) / unpruned


def overall_table(groups: Sequence[Group]) -> Table | None:
    """Agents over all groups: the mean score, and the probability to beat each control.

    Returns:
        None where no agent ran in every one of two groups or more.
    """
    scores = shared_scores(groups)
    if not scores:
        return None
    controls = [label for label in scores if label.split(" ")[0] in CONTROLS]
    head = [("agent", ""), ("runs", ""), ("accuracy kept", "% of unpruned")]
    table = Table(head + [(f"beats {label}", "P") for label in controls])
    for label, strata in sorted(scores.items(), key=lambda item: -float(iqm(item[1]))):
        pooled = tuple(float(score) for runs in strata for score in runs)
        found = Estimate(pooled, float(iqm(strata)))
        if max(len(runs) for runs in strata) > 1:
            low, high = bootstrap_interval(strata)
            found = Estimate(pooled, found.value, float(low), float(high))
        cells = [Cell(str(len(pooled))), cell(found, percent)]
        for control in controls:
            same = control == label
            cells.append(Cell("–") if same else _probability(strata, scores[control]))
        table.lines.append(Line(label, cells, label in controls))
    return table


def _probability(ours: Scores, theirs: Scores) -> Cell:
    value = float(probability_of_improvement(ours, theirs))
    if max(len(runs) for runs in (*ours, *theirs)) == 1:
        return Cell(f"{value:.2f}")
    tasks = len(ours)
    low, high = bootstrap_interval(
        [*ours, *theirs], lambda drawn: probability_of_improvement(drawn[:tasks], drawn[tasks:])
    )
    return Cell(f"{value:.2f}", between(low, high, "{:.2f}".format))
