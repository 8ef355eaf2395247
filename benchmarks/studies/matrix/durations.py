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


def cost_to(row: Row, accuracy: float) -> float | None:
    """Mean ``search_macs_total`` until :func:`first_of`; None where a seed never got there."""
    found = [first_of(run, accuracy) for run in row.runs]
    if any(episode is None for episode in found):
        return None
    return float(np.mean([episode.search_macs_total for episode in found if episode]))


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
    bars = [bar for bar in bars if any(cost_to(row, bar) is not None for row in rows)]
    lines = []
    for row in rows:
        met = [e.accuracy for run in row.runs for e in run.episodes if valid(run, e)]
        whole = np.mean([run.episodes[-1].search_macs_total for run in row.runs])
        fixed = _fixed(row)
        lines.append(
            [
                "**learned**" if fixed is None else f"{fixed:g}",
                str(len(row.runs)),
                "/".join(str(len(run.episodes)) for run in row.runs),
                *(_text(cost_to(row, bar)) for bar in bars),
                f"{max(met):.1%}" if met else "target never met",
                f"{whole:.2e}",
            ]
        )
    lines.append(["best fixed / learned", "", "", *_ratios(rows, bars), "", ""])
    reached = [f"to {bar:.0%}" for bar in bars]
    head = ["duration of a step", "seeds", "episodes", *reached, "best accuracy", "whole search"]
    return tables.markdown(head, lines)


def _fixed(row: Row) -> float | None:
    value = row.runs[0].setup.config.agent_options.get("fixed_duration")
    return None if value is None else float(value)


def _text(cost: float | None) -> str:
    return "–" if cost is None else f"{cost:.2e}"


def _ratios(rows: Sequence[Row], bars: Sequence[float]) -> list[str]:
    texts = []
    for bar in bars:
        learned = [cost_to(row, bar) for row in rows if _fixed(row) is None]
        fixed = [cost for row in rows if _fixed(row) is not None and (cost := cost_to(row, bar))]
        if not learned or learned[0] is None:
            texts.append("learned: not reached" if fixed else "–")
        elif not fixed:
            texts.append("fixed: not reached")
        else:
            texts.append(f"{min(fixed) / learned[0]:.2f}x")
    return texts
