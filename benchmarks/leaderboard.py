"""The leaderboard: agents by accuracy, as text after a benchmark and as a table of the page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks import tables
from benchmarks.groups import CONTROLS, Group, Row, group
from benchmarks.metrics import Estimate, estimate, meets_target, scratch_values, values_of
from benchmarks.references import reference_of
from benchmarks.results import Result, Scratch
from benchmarks.tables import Cell, Form, Line, Table, cell, percent

COLUMNS: tuple[tuple[str, str, str, Form], ...] = (
    ("after_search", "validation, after search", "%", percent),
    ("validation", "validation, final", "%", percent),
    ("test", "test, final", "%", percent),
    ("params", "parameters", "fewer", tables.times),
    ("macs", "MACs", "fewer", tables.times),
    ("latency", "latency", "less", tables.times),
    ("energy", "energy", "less", tables.times),
    ("compute", "compute", "epoch-equivalents", tables.plain),
    ("searched", "searched", "% of it", percent),
    ("wall", "search, wall", "", tables.seconds),
    ("device", "search, device", "", tables.seconds),
)
"""Columns of the page: a figure of :func:`benchmarks.metrics.measure`, name, unit and form."""
SCRATCH = "same shape from scratch"
AFTER_TEST = 1 + [name for name, *_ in COLUMNS].index("test")


@dataclass(frozen=True)
class Entry:
    """One agent of a leaderboard.

    Args:
        row: Runs of the agent.
        figures: Aggregates over the seeds, by the names of :func:`benchmarks.metrics.measure`.
        scratch: Test accuracy of the same shapes trained from scratch; None if no seed has it.
        met: Number of runs that meet the target.
        captured: Captured headroom of the test accuracy; None for a task without a reference
            (:mod:`benchmarks.references`).
    """

    row: Row
    figures: Mapping[str, Estimate]
    scratch: Estimate | None
    met: int
    captured: float | None = None

    @property
    def share_met(self) -> float:
        """Share of the runs whose final network meets the target."""
        return self.met / len(self.row.runs)


def entries(found: Group) -> list[Entry]:
    """All agents of a group, in the order of its rows."""
    return [_entry(row) for row in found.rows]


def _entry(row: Row) -> Entry:
    figures = {name: estimate(values) for name, values in values_of(row).items()}
    trained, task = scratch_values(row), row.runs[0].task
    reference = reference_of(*task) if task else None
    return Entry(
        row,
        figures,
        estimate(trained) if trained else None,
        sum(map(meets_target, row.runs)),
        reference.captured(figures["test"].value) if reference else None,
    )


# Text


def text(results: Sequence[Result]) -> str:
    """The leaderboard of finished runs in Markdown, the best test accuracy first.

    Each group of runs that may be compared has its table. If there are several (data, weights or
    hardware differ), a line above each table names the difference.
    """
    groups = group(results)
    texts = [_markdown(entries(found)) for found in groups]
    if len(groups) == 1:
        return texts[0]
    keys = [found.key._asdict() for found in groups]
    telling = [name for name in keys[0] if len({str(key[name]) for key in keys}) > 1]
    for index, key in enumerate(keys):
        own = ", ".join(f"{name} {str(key[name])[:12]}" for name in telling)
        texts[index] = f"Of {own} (not to be compared with the others):\n\n{texts[index]}"
    return "\n\n".join(texts)


def _markdown(found: Sequence[Entry]) -> str:
    head: tuple[str, ...] = (
        *("agent", "seeds", "validation, after search", "validation, final", "test, final"),
        *("95 %", SCRATCH, "MACs left", "compute", "searched", "above random", "above l1"),
    )
    ordered = sorted(found, key=lambda entry: -entry.figures["test"].value)
    tests = {entry.row.label: entry.figures["test"].value for entry in ordered}
    rows = [_text_row(entry, tests) for entry in ordered]
    if any(entry.captured is not None for entry in ordered):
        head = (*head, "captured headroom")
        for row, entry in zip(rows, ordered, strict=True):
            row.append("" if entry.captured is None else f"{entry.captured:.2f}")
    return tables.markdown(head, rows)


def _text_row(entry: Entry, tests: Mapping[str, float]) -> list[str]:
    row, figures, test = entry.row, entry.figures, entry.figures["test"]
    spread = "" if test.low is None else f"{test.low:.2%} to {test.high:.2%}"
    missed = "" if entry.share_met == 1 else f" (target met by {entry.share_met:.0%})"
    above = [
        f"{100 * (test.value - tests[control]):+.2f}"
        if control in tests and control != row.label
        else ""
        for control in ("random", "l1")
    ]
    return [
        f"{row.label} (control)" if row.label in CONTROLS else row.label,
        str(len(row.runs)),
        f"{figures['after_search'].value:.2%}",
        f"{figures['validation'].value:.2%}",
        f"{test.value:.2%}",
        spread,
        "" if entry.scratch is None else f"{entry.scratch.value:.2%}",
        f"{figures['macs_left'].value:.1%}{missed}",
        f"{figures['compute'].value:.2f}",
        f"{figures['searched'].value:.0%}",
        *above,
    ]


# Page


def ranked(found: Group) -> list[Entry]:
    """Entries by share of networks that meet the target, then by validation accuracy."""

    def worth(entry: Entry) -> tuple[float, float]:
        return entry.share_met, entry.figures["validation"].value

    return sorted(entries(found), key=worth, reverse=True)


def table(found: Group) -> Table:
    """One line an agent; a column for its shapes trained from scratch if there are any."""
    head = [("agent", ""), ("seeds", "")]
    if found.wanted:
        head.append(("target met", "networks"))
    columns = [(name, unit) for _, name, unit, _ in COLUMNS]
    controls = [run.scratch for run in found.runs if run.scratch is not None]
    if controls:
        columns.insert(AFTER_TEST, (SCRATCH, f"%, {_epochs(controls)}"))
    result = Table(head + columns)
    for place, entry in enumerate(ranked(found)):
        row = entry.row
        cells = [Cell(str(len(row.runs)), _seeds(row.seeds))]
        if found.wanted:
            cells.append(Cell(f"{entry.met} of {len(row.runs)}"))
        figures = [cell(entry.figures[name], form) for name, _, _, form in COLUMNS]
        if controls:
            figures.insert(AFTER_TEST, _scratch_cell(entry))
        result.lines.append(Line(row.agent, cells + figures, row.control, place == 0, row.telling))
    return result


def _seeds(seeds: Sequence[int]) -> str:
    first, last = seeds[0], seeds[-1]
    if list(seeds) == list(range(first, last + 1)):
        return f"seed {first}" if first == last else f"{first} – {last}"
    return ", ".join(map(str, seeds))


def _scratch_cell(entry: Entry) -> Cell:
    """The from-scratch control with its interval, and its seeds if some lack it."""
    found, runs = cell(entry.scratch, percent), len(entry.row.runs)
    trained = len(entry.scratch.values) if entry.scratch else 0
    few = f"{trained} of {runs} seeds" if 0 < trained < runs else ""
    return Cell(found.text, ", ".join(filter(None, [found.small, few])))


def _epochs(controls: Sequence[Scratch]) -> str:
    """Epochs that the controls were trained for."""
    epochs = sorted({control.options.epochs for control in controls})
    return "/".join(f"{each:g}" for each in epochs) + " epochs"
