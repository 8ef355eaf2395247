"""The tables of the page as plain cells of text."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report.cells import (
    Cell,
    Form,
    Line,
    Table,
    between,
    big,
    cell,
    percent,
    plain,
    seconds,
    times,
)
from benchmarks.report.groups import CONTROLS, Group, Row
from benchmarks.report.metrics import (
    estimate,
    first_success,
    meets_target,
    scratch_values,
    values_of,
)
from benchmarks.statistics import bootstrap_interval, probability_of_improvement

LEADERBOARD: tuple[tuple[str, str, str, Form], ...] = (
    ("after_search", "validation, after search", "%", percent),
    ("validation", "validation, final", "%", percent),
    ("test", "test, final", "%", percent),
    ("params", "parameters", "fewer", times),
    ("macs", "MACs", "fewer", times),
    ("latency", "latency", "less", times),
    ("energy", "energy", "less", times),
    ("search_macs", "search MACs", "", big),
    ("wall", "search, wall", "", seconds),
    ("device", "search, device", "", seconds),
)
AFTER_SCORE = 1 + [key for key, *_ in LEADERBOARD].index("test")


def ranked(rows: Sequence[Row]) -> list[Row]:
    """Rows by share of networks that meet the target, then by validation accuracy."""

    def worth(row: Row) -> tuple[float, float]:
        found = estimate(values_of(row)["validation"])
        assert found is not None
        return sum(map(meets_target, row.runs)) / len(row.runs), found.value

    return sorted(rows, key=worth, reverse=True)


def leaderboard(group: Group) -> Table:
    """One line an agent; a column for its shapes trained from scratch where that was done."""
    head = [("agent", ""), ("seeds", "")]
    if group.wanted:
        head.append(("target met", "networks"))
    columns = [(name, unit) for _, name, unit, _ in LEADERBOARD]
    scratch = [run.scratch for row in group.rows for run in row.runs if run.scratch is not None]
    if scratch:
        columns.insert(AFTER_SCORE, ("same shape from scratch", f"%, {_epochs(scratch)}"))
    table = Table(head + columns)
    for place, row in enumerate(ranked(group.rows)):
        values = values_of(row)
        cells = [Cell(str(len(row.runs)), _seeds(row.seeds))]
        if group.wanted:
            cells.append(Cell(f"{sum(map(meets_target, row.runs))} of {len(row.runs)}"))
        figures = [cell(estimate(values[key]), form) for key, _, _, form in LEADERBOARD]
        if scratch:
            figures.insert(AFTER_SCORE, _scratch_cell(row))
        table.lines.append(Line(row.agent, cells + figures, row.control, place == 0, row.telling))
    return table


def _seeds(seeds: Sequence[int]) -> str:
    first, last = seeds[0], seeds[-1]
    if list(seeds) == list(range(first, last + 1)):
        return f"seed {first}" if first == last else f"{first} – {last}"
    return ", ".join(map(str, seeds))


def _scratch_cell(row: Row) -> Cell:
    """The control of the same shapes, with its interval, and its seeds where some lack it."""
    trained = scratch_values(row, "test_accuracy")
    found = cell(estimate(trained), percent)
    few = f"{len(trained)} of {len(row.runs)} seeds" if 0 < len(trained) < len(row.runs) else ""
    return Cell(found.text, ", ".join(filter(None, [found.small, few])))


def _epochs(controls: Sequence[Mapping[str, Any]]) -> str:
    """How long controls were trained."""
    epochs = {control.get("options", {}).get("epochs") for control in controls}
    return "/".join(f"{each:g}" for each in sorted(epochs - {None})) + " epochs"


def search_cost(group: Group) -> Table:
    """What the search took until its first network that meets target and tolerance."""
    table = Table(
        [
            ("agent", ""),
            ("reached it", "seeds"),
            ("search MACs", "until then"),
            ("to the cheapest", "all seeds, MACs"),
            ("wall", "until then"),
            ("device", "until then"),
            ("episodes", "until then"),
            ("whole search", "MACs"),
            ("hypervolume", "of the search"),
        ]
    )
    found = {row.label: [first_success(run) for run in row.runs] for row in group.rows}
    reached = {
        label: [episode for episode in episodes if episode is not None]
        for label, episodes in found.items()
    }
    costs = {
        label: estimate([episode["search_macs_total"] for episode in episodes])
        for label, episodes in reached.items()
    }
    # Costs of the lucky seeds alone compare with nobody's.
    whole = {row.label for row in group.rows if len(reached[row.label]) == len(row.runs)}
    least = min((cost.value for label, cost in costs.items() if label in whole and cost), default=0)

    def place(row: Row) -> tuple[float, float]:
        cost = costs[row.label]
        share = len(reached[row.label]) / len(row.runs)
        return -share, cost.value if cost is not None else float("inf")

    for row in sorted(group.rows, key=place):
        episodes, cost, values = reached[row.label], costs[row.label], values_of(row)
        ratio = Cell(times(cost.value / least)) if cost and row.label in whole else Cell("–")
        cells = [
            Cell(f"{len(episodes)} of {len(row.runs)}"),
            cell(cost, big),
            ratio,
            cell(estimate([episode["wall_seconds"] for episode in episodes]), seconds),
            cell(estimate([episode["device_seconds"] for episode in episodes]), seconds),
            cell(estimate([episode["episode"] + 1 for episode in episodes]), plain),
            cell(estimate(values["search_macs"]), big),
            cell(estimate(values["hypervolume"]), plain),
        ]
        best = cost is not None and row.label in whole and cost.value == least
        table.lines.append(Line(row.agent, cells, row.control, best, row.telling))
    return table


def improvement(group: Group) -> Table | None:
    """How likely a run of each agent beats one of each control on the test split.

    Returns:
        None where there is no control to compare with, or nothing but controls.
    """
    controls = [row for row in group.rows if row.agent in CONTROLS]
    rows = [row for row in ranked(group.rows) if row.agent not in CONTROLS]
    if not controls or not rows:
        return None
    table = Table([("agent", "")] + [(f"beats {row.label}", "P") for row in controls])
    for row in rows:
        ours = values_of(row)["test"]
        cells = [_probability(ours, values_of(control)["test"]) for control in controls]
        table.lines.append(Line(row.agent, cells, small=row.telling))
    return table


def _probability(ours: list[float], theirs: list[float]) -> Cell:
    value = float(probability_of_improvement([ours], [theirs]))
    if len(ours) == len(theirs) == 1:
        return Cell(plain(value), "one pair")
    low, high = bootstrap_interval(
        [ours, theirs], lambda drawn: probability_of_improvement(drawn[:1], drawn[1:])
    )
    return Cell(f"{value:.2f}", between(low, high, "{:.2f}".format))
