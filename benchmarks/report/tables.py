"""Tables of the page beside the leaderboard: cost of the search, and comparisons with controls."""

from collections.abc import Sequence

import numpy as np

from benchmarks import tables as forms
from benchmarks.groups import CONTROLS, Group, Row
from benchmarks.leaderboard import ranked
from benchmarks.metrics import estimate, first_success, shared_scores, values_of
from benchmarks.statistics.aggregate import (
    Strata,
    bootstrap_interval,
    probability_of_improvement,
)
from benchmarks.tables import Cell, Form, Line, Table, between, cell


def search_cost(group: Group) -> Table:
    """What the search spent until its first network that meets target and tolerance."""
    head = [("agent", ""), ("reached it", "seeds"), ("search MACs", "until then")]
    head.append(("to the cheapest", "all seeds, MACs"))
    head += [(name, "until then") for name in ("wall", "device", "episodes")]
    table = Table([*head, ("whole search", "MACs"), ("hypervolume", "of the search")])
    reached = {
        row.label: [episode for run in row.runs if (episode := first_success(run))]
        for row in group.rows
    }
    costs = {
        label: estimate([episode.search_macs_total for episode in episodes])
        for label, episodes in reached.items()
        if episodes
    }
    # Costs of the lucky seeds alone compare with nobody's.
    whole = {row.label for row in group.rows if len(reached[row.label]) == len(row.runs)}
    least = min((cost.value for label, cost in costs.items() if label in whole), default=0)

    def place(row: Row) -> tuple[float, float]:
        share = len(reached[row.label]) / len(row.runs)
        return -share, costs[row.label].value if row.label in costs else float("inf")

    for row in sorted(group.rows, key=place):
        episodes, cost, values = reached[row.label], costs.get(row.label), values_of(row)
        ratio = forms.times(cost.value / least) if cost and row.label in whole else "–"
        cells = [
            Cell(f"{len(episodes)} of {len(row.runs)}"),
            cell(cost, forms.big),
            Cell(ratio),
            _until([episode.wall_seconds for episode in episodes], forms.seconds),
            _until([episode.device_seconds for episode in episodes], forms.seconds),
            _until([episode.number + 1 for episode in episodes], forms.plain),
            cell(estimate(values["search_macs"]), forms.big),
            cell(estimate(values["hypervolume"]), forms.plain),
        ]
        best = cost is not None and row.label in whole and cost.value == least
        table.lines.append(Line(row.agent, cells, row.control, best, row.telling))
    return table


def _until(spent: Sequence[float], form: Form) -> Cell:
    return cell(estimate(spent) if spent else None, form)


def improvement(group: Group) -> Table | None:
    """How likely a run of each agent beats one of each control on the test split, if both exist."""
    controls = [row for row in group.rows if row.control]
    rows = [entry.row for entry in ranked(group) if not entry.row.control]
    if not controls or not rows:
        return None
    table = Table([("agent", "")] + [(f"beats {row.label}", "P") for row in controls])
    for row in rows:
        ours = values_of(row)["test"]
        cells = [_probability([ours], [values_of(control)["test"]]) for control in controls]
        table.lines.append(Line(row.agent, cells, small=row.telling))
    return table


def overall(groups: Sequence[Group]) -> Table | None:
    """Mean score and probability to beat each control, of agents that ran in all of the groups."""
    scores = shared_scores(groups)
    if not scores:
        return None
    controls = [label for label in scores if label.split(" ")[0] in CONTROLS]
    head = [("agent", ""), ("runs", ""), ("accuracy kept", "% of unpruned")]
    table = Table(head + [(f"beats {label}", "P") for label in controls])
    found = {label: estimate(*strata) for label, strata in scores.items()}
    for label, kept in sorted(found.items(), key=lambda item: -item[1].value):
        cells = [Cell(str(len(kept.values))), cell(kept, forms.percent)]
        for control in controls:
            same = control == label
            cells.append(Cell("–") if same else _probability(scores[label], scores[control]))
        table.lines.append(Line(label, cells, label in controls))
    return table


def _probability(ours: Strata, theirs: Strata) -> Cell:
    """The probability of improvement over tasks, with its interval."""
    value = float(probability_of_improvement(ours, theirs))
    if max(np.size(runs) for runs in (*ours, *theirs)) == 1:
        return Cell(forms.plain(value), "one pair") if len(ours) == 1 else Cell(f"{value:.2f}")
    tasks = len(ours)
    low, high = bootstrap_interval(
        [*ours, *theirs], lambda drawn: probability_of_improvement(drawn[:tasks], drawn[tasks:])
    )
    return Cell(f"{value:.2f}", between(low, high, "{:.2f}".format))
