"""The part of the page about one group: headings, sentences, tables and pictures."""

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from benchmarks import leaderboard
from benchmarks.groups import SCRATCH, Group, Row, differences, machine
from benchmarks.metrics import best_run, estimate, finished, measure, meets_target, values_of
from benchmarks.report import figures, network, tables
from benchmarks.report.style import Styles
from benchmarks.results import Result


class Picture(NamedTuple):
    """A figure with the name of its file and the words below it."""

    name: str
    figure: Figure
    caption: str

    @property
    def width(self) -> int:
        """Width in CSS pixels; letters are then as large as the page's small ones."""
        return round(96 * self.figure.get_figwidth())


def section(group: Group, number: int, styles: Styles) -> dict[str, Any]:
    """The values that the template needs for a group; its number is part of the figures' names."""
    row, best = best_run(group.rows)
    pictures, not_drawn = _network_pictures(group, row, best, number)
    on = f"{group.key.objective} on {best.setup.environment.accelerator}"
    task = f"{group.key.task}: " if group.key.task else ""
    tolerances = sorted({run.setup.environment.tolerance for run in group.runs})
    return dict(
        anchor=f"group-{number}",
        title=f"{task}{group.key.id}, {on}: {_target(group)}",
        facts=_facts(group),
        headline=_headline(group, row, best),
        caveats=_caveats(group),
        leaderboard=leaderboard.table(group),
        search_cost=tables.search_cost(group),
        tolerance=" or ".join(f"{100 * value:g}" for value in tolerances),
        improvement=tables.improvement(group),
        accuracy=Picture(
            f"{number}-accuracy",
            figures.accuracy_figure(group, styles),
            "Test accuracy after the final fine-tune: a marker for each seed, a stroke for the "
            "interquartile mean, a bar for its 95 % interval.",
        ),
        pareto=Picture(
            f"{number}-pareto",
            figures.pareto_figure(group, styles),
            "Left: every network that a search finished, before the final fine-tune, with each "
            "agent's Pareto front over all seeds. Right: the finished networks, one for each seed.",
        ),
        efficiency=Picture(
            f"{number}-efficiency",
            figures.efficiency_figure(group, styles),
            "Interquartile mean over seeds of the best accuracy so far among networks that meet "
            "the target, with its 95 % interval. A line begins where every run of the agent has "
            "such a network, and ends with its longest search.",
        ),
        network=pictures,
        not_drawn=not_drawn,
        runs=[
            (member.label, run, shlex.join(run.setup.config.command()), machine(run.setup))
            for member in group.rows
            for run in member.runs
        ],
    )


def profile_picture(groups: Sequence[Group], styles: Styles) -> Picture:
    """The performance profiles over all groups."""
    return Picture(
        "profiles",
        figures.profile_figure(groups, styles),
        "Performance profiles: the share of runs that keep more than so much of the unpruned "
        "network's test accuracy, averaged over groups, with pointwise 95 % intervals.",
    )


def _network_pictures(
    group: Group, row: Row, best: Result, number: int
) -> tuple[list[Picture], str]:
    pictures = [
        Picture(
            f"{number}-filters",
            network.filters_figure(row.label, best),
            "Filters of each space that the best network keeps; the number is what is left.",
        )
    ]
    if len(group.rows) > 1:
        pictures.append(
            Picture(
                f"{number}-kept",
                network.kept_figure([entry.row for entry in leaderboard.ranked(group)]),
                "Filters kept by each agent's best network, the best agent on top.",
            )
        )
    try:
        layers = Picture(
            f"{number}-layers",
            network.layers_figure(row.label, best),
            "Energy by level of the memory hierarchy, and latency with what bounds it, of every "
            "layer on the accelerator model.",
        )
    except network.CannotDrawError as error:
        return pictures, str(error)
    return [*pictures, layers], ""


def _target(group: Group) -> str:
    shares = [
        f"accuracy drop ≤ {100 * value:g} points"
        if name == "accuracy"
        else f"{figures.NAMES.get(name, name)} ≤ {100 * value:g} %"
        for name, value in sorted(group.wanted.items())
    ]
    return ", ".join(shares) or "no target"


def _facts(group: Group) -> list[tuple[str, str]]:
    run, key = group.runs[0], group.key
    report, given, costs = finished(run), run.setup.environment, run.setup.costs
    versions = {
        ", ".join(f"{name} {value}" for name, value in run.setup.versions.items())
        for run in group.runs
    }
    return [
        ("target", _target(group)),
        ("data set", f"{given.dataset} (SHA-256 {key.dataset[:12]})"),
        ("network", f"{given.network} (weights' SHA-256 {key.weights[:12]})"),
        (
            "unpruned",
            f"validation {report.validation.unpruned:.2%}, test {report.test.unpruned:.2%}, "
            f"{costs.params:,} parameters, {costs.macs:,} MACs, {costs.latency_ms:.3f} ms, "
            f"{costs.energy_uj:.1f} uJ",
        ),
        ("accelerator", f"{given.accelerator}, batch {key.batch} (SHA-256 {key.accelerator[:12]})"),
        ("environment", f"{key.id}, revision {key.env_revision}"),
        ("machines", "; ".join(sorted({machine(run.setup) for run in group.runs}))),
        ("versions", "; ".join(sorted(versions))),
    ]


def _headline(group: Group, row: Row, best: Result) -> list[str]:
    numbers, where = measure(best), f"{row.label}, seed {best.seed}"
    met = "" if meets_target(best) else " It misses the target, as all of them do."
    lines = [
        f"The best network on validation is of {where}: {numbers['test']:.2%} on the test split "
        f"(unpruned {finished(best).test.unpruned:.2%}), with "
        f"{numbers['params']:.2f}x fewer parameters, {numbers['macs']:.2f}x fewer MACs, "
        f"{numbers['latency']:.2f}x less latency and {numbers['energy']:.2f}x less energy.{met}"
    ]
    order = [entry.row for entry in leaderboard.ranked(group)]
    controls = [row for row in order if row.control]
    if controls and not order[0].control:
        lines.append(f"{_mean(order[0])}; {_mean(controls[0])}, the best control.")
    elif controls and len(order) > len(controls):
        agent = next(row for row in order if not row.control)
        lines.append(
            f"A control is ahead: {_mean(controls[0])}; {_mean(agent)}, the best of the others."
        )
    return lines


def _mean(row: Row) -> str:
    found = estimate(values_of(row)["test"])
    seeds = f"{len(row.runs)} seeds" if len(row.runs) > 1 else "one seed"
    return f"{row.label}: {found.value:.2%} on the test split ({seeds})"


def _caveats(group: Group) -> list[str]:
    result = []
    missing = group.missing_controls
    if missing:
        names = ", ".join(
            "the same shape from scratch" if name == SCRATCH else name for name in missing
        )
        result.append(
            f"Controls that were not run here: {names}. Without them the figures do not show what "
            "the search is worth."
        )
    if few := [row.label for row in group.rows if len(row.runs) < 3]:
        result.append(
            f"Fewer than three seeds: {', '.join(few)}. Small differences to these mean nothing."
        )
    return result + [f"Not the same for all – {text}." for text in differences(group.rows)]
