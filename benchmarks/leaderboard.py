"""The table that is printed after a benchmark."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.report.groups import CONTROLS, group
from benchmarks.results import Result
from benchmarks.statistics import bootstrap_interval, iqm


def rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row an agent, the best test accuracy first.

    Args:
        results: Finished runs of one task.

    Returns:
        ``agent`` (with the options that tell it from its namesakes), ``seeds``, interquartile
        means of the validation accuracy after the search and after the final fine-tune and of
        the test accuracy with its 95 % ``interval`` (None for one seed), ``scratch`` (that of the
        same shapes trained from scratch, None where they were not), ``met`` (share of seeds that
        met the target), ``macs`` left, and ``spent`` MACs.
    """
    table = []
    for row in (row for found in group(results) for row in found.rows):
        runs = row.runs
        reports: list[Any] = [run.report for run in runs]
        test = np.array([report["accuracy"]["test"]["final"] for report in reports])
        scratch = [run.scratch["test_accuracy"] for run in runs if run.scratch is not None]
        interval = bootstrap_interval([test]) if len(test) > 1 else None
        validation = [report["accuracy"]["validation"] for report in reports]
        table.append(
            {
                "agent": row.label,
                "seeds": len(runs),
                "search": _iqm([each["after_search"] for each in validation]),
                "final": _iqm([each["final"] for each in validation]),
                "test": _iqm(test),
                "interval": None if interval is None else (interval.low, interval.high),
                "scratch": _iqm(scratch) if scratch else None,
                "met": float(np.mean([_met(report) for report in reports])),
                "macs": _iqm([1 / report["ratios"]["macs"] for report in reports]),
                "spent": _iqm([report["search"]["search_macs_total"] for report in reports]),
            }
        )
    return sorted(table, key=lambda row: -row["test"])


def tables(results: Sequence[Result]) -> str:
    """The rows for people, in one table for each group of runs that may be compared.

    Where there are several (data, weights or hardware differ), a line above each says by what.

    Args:
        results: Finished runs of one task.
    """
    groups = group(results)
    texts = [markdown(rows(found.runs)) for found in groups]
    if len(groups) == 1:
        return texts[0]
    keys = [found.key._asdict() for found in groups]
    telling = [name for name in keys[0] if len({str(key[name]) for key in keys}) > 1]
    for index, key in enumerate(keys):
        own = ", ".join(f"{name} {str(key[name])[:12]}" for name in telling)
        texts[index] = f"Of {own} (not to be compared with the others):\n\n{texts[index]}"
    return "\n\n".join(texts)


def _iqm(values: Any) -> float:
    return float(iqm([np.asarray(values, float)]))


def _met(report: Any) -> bool:
    return bool(report.get("target", {"met": True})["met"])


def markdown(table: Sequence[dict[str, Any]]) -> str:
    """The rows for people, with a mark where an agent does not beat a control."""
    lines = [
        "| agent | seeds | validation, after search | validation, final | test, final | 95 % | "
        "same shape from scratch | MACs left | search MACs | above random | above l1 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    tests = {row["agent"]: row["test"] for row in table}
    for row in table:
        interval = row["interval"]
        spread = "" if interval is None else f"{interval[0]:.2%} to {interval[1]:.2%}"
        above = [
            "" if control not in tests or control == row["agent"]
            else f"{100 * (row['test'] - tests[control]):+.2f}"
            for control in ("random", "l1")
        ]  # fmt: skip
        name = f"{row['agent']} (control)" if row["agent"] in CONTROLS else row["agent"]
        scratch = "" if row["scratch"] is None else f"{row['scratch']:.2%}"
        missed = "" if row["met"] == 1 else f" (target met by {row['met']:.0%})"
        lines.append(
            f"| {name} | {row['seeds']} | {row['search']:.2%} | {row['final']:.2%} | "
            f"{row['test']:.2%} | {spread} | {scratch} | "
            f"{row['macs']:.1%}{missed} | {row['spent']:.2e} | "
            f"{above[0]} | {above[1]} |"
        )
    return "\n".join(lines)
