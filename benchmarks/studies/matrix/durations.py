"""Learned against fixed durations: what a search costs until its first good network."""

from collections.abc import Sequence

import numpy as np

from benchmarks import tables
from benchmarks.groups import Row, group
from benchmarks.metrics import valid
from benchmarks.results import Result
from prune_gym.runs.records import Episode


def first_of(run: Result, accuracy: float) -> Episode | None:
    """The first episode of a run that meets the target with at least this validation accuracy."""
    good = (e for e in run.episodes if valid(run, e) and e.accuracy >= accuracy)
    return next(good, None)


def cost_to(row: Row, accuracy: float) -> float:
    """Mean ``search_macs_total`` until :func:`first_of`; infinite where a seed never got there."""
    found = [first_of(run, accuracy) for run in row.runs]
    return float(np.mean([e.search_macs_total if e else np.inf for e in found]))


def markdown(results: Sequence[Result], bars: Sequence[float]) -> str:
    """A table of search MACs: arms as rows, accuracies to be reached as columns.

    Args:
        results: Runs of one task, of one agent with and without ``fixed_duration``.
        bars: Validation accuracies, 0 to 1; one that no arm reaches gets no column.

    Returns:
        The table. Its last row is the cost of the best fixed arm over the learned one's: above 1,
        learning was cheaper.
    """
    groups = group(results)
    if len(groups) != 1:
        raise ValueError(f"the runs are of {len(groups)} settings that cannot be compared")
    rows = sorted(groups[0].rows, key=lambda row: (_fixed(row) is not None, _fixed(row) or 0))
    bars = [bar for bar in bars if any(cost_to(row, bar) < np.inf for row in rows)]
    lines = []
    for row in rows:
        met = [e.accuracy for run in row.runs for e in run.episodes if valid(run, e)]
        whole = np.mean([run.episodes[-1].search_macs_total for run in row.runs])
        fixed = _fixed(row)
        arm = "**learned**" if fixed is None else f"{fixed:g}"
        episodes = "/".join(str(len(run.episodes)) for run in row.runs)
        costs = [f"{cost_to(row, bar):.2e}".replace("inf", "–") for bar in bars]
        best = f"{max(met):.1%}" if met else "target never met"
        lines.append([arm, str(len(row.runs)), episodes, *costs, best, f"{whole:.2e}"])
    ratios = [_ratio(rows, bar) for bar in bars]
    lines.append(["best fixed / learned", "", "", *ratios, "", ""])
    reached = [f"to {bar:.0%}" for bar in bars]
    head = ["duration of a step", "seeds", "episodes", *reached, "best accuracy", "whole search"]
    return tables.markdown(head, lines)


def _fixed(row: Row) -> float | None:
    value = row.runs[0].setup.config.agent_options.get("fixed_duration")
    return None if value is None else float(value)


def _ratio(rows: Sequence[Row], bar: float) -> str:
    learned = min((cost_to(row, bar) for row in rows if _fixed(row) is None), default=np.inf)
    fixed = min((cost_to(row, bar) for row in rows if _fixed(row) is not None), default=np.inf)
    if learned == np.inf:
        return "learned: not reached"
    return "fixed: not reached" if fixed == np.inf else f"{fixed / learned:.2f}x"
