"""Objective MACs against objective latency: the gain of hardware-aware pruning."""

import itertools
from collections.abc import Sequence

import numpy as np

from benchmarks import tables
from benchmarks.results import Result

SEARCHER = "evolution"
"""The agent whose two searches are compared: it alone follows the objective, layer by layer."""
CONTROLS = ("l1", "uniform", "random")
"""Agents that are shown beside it, at the same target."""


def points(
    results: Sequence[Result], objective: str, agent: str = SEARCHER
) -> list[dict[str, float]]:
    """The networks that an agent found with one objective, smallest latency first, seeds averaged.

    Returns:
        ``wanted``, ``macs``, ``latency`` and ``energy`` as shares of the unpruned network's, the
        ``test`` accuracy, that of the same shape from scratch (``scratch``, NaN where it was not
        trained for every seed) and ``seeds``.
    """
    found: dict[float, list[dict[str, float]]] = {}
    for result in results:
        report = result.report
        wanted = result.setup.wanted
        if result.agent == agent and report is not None and set(wanted) == {objective}:
            names = {"macs": "macs", "latency": "latency_ms", "energy": "energy_uj"}
            figures = {name: 1 / report.ratios[cost] for name, cost in names.items()}
            figures["test"] = report.test.final
            figures["scratch"] = result.scratch.test_accuracy if result.scratch else np.nan
            found.setdefault(wanted[objective], []).append(figures)
    rows = [
        {name: float(np.mean([figures[name] for figures in runs])) for name in runs[0]}
        | {"wanted": share, "seeds": float(len(runs))}
        for share, runs in found.items()
    ]
    return sorted(rows, key=lambda row: row["latency"])


def latency_at(rows: Sequence[dict[str, float]], accuracy: float) -> float | None:
    """Latency at a test accuracy, on a straight line between neighbours of :func:`points`."""
    for small, large in itertools.pairwise(rows):
        low, high = sorted((small["test"], large["test"]))
        if low <= accuracy <= high and high > low:
            share = (accuracy - small["test"]) / (large["test"] - small["test"])
            return small["latency"] + share * (large["latency"] - small["latency"])
    return None


def markdown(results: Sequence[Result]) -> str:
    """A table of both objectives' networks, the controls, and the latencies at equal accuracy."""
    by = {objective: points(results, objective) for objective in ("macs", "latency")}
    lines = []
    for objective, other in (("macs", "latency"), ("latency", "macs")):
        beside = {
            (agent, row["wanted"]): _percent(row["test"])
            for agent in CONTROLS
            for row in points(results, objective, agent)
        }
        for row in by[objective]:
            there = latency_at(by[other], row["test"])
            equal = "outside of its range"
            if there is not None:
                equal = f"{there:.1%} ({there / row['latency']:.2f}x)"
            lines.append(
                [
                    f"{objective} {row['wanted']:g}",
                    f"{row['seeds']:.0f}",
                    *(f"{row[name]:.1%}" for name in ("macs", "latency", "energy")),
                    f"{row['test']:.2%}",
                    *(beside.get((agent, row["wanted"]), "") for agent in CONTROLS),
                    _percent(row["scratch"]),
                    equal,
                ]
            )
    head = (
        *("objective and target", "seeds", "MACs left", "latency left", "energy left"),
        *("test, final", *CONTROLS, "same shape from scratch"),
        "latency of the other objective at this accuracy",
    )
    return tables.markdown(head, lines)


def _percent(share: float) -> str:
    return "" if np.isnan(share) else f"{share:.2%}"
