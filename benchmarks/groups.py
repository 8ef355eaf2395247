"""Groups of runs that may be compared, and rows of runs that differ by their seed alone."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from benchmarks.results import Result
from prune_gym.runs.records import Setup

CONTROLS = ("random", "uniform", "l1")
SCRATCH = "scratch"
LONG = 40

# Either the group's key has them, or they change no number but time.
_NOT_SETTINGS = ("target", "dataset", "weights", "accelerator", "objective", "device", "threads")


class Key(NamedTuple):
    """The facts that runs must share to be compared."""

    task: str
    id: str
    dataset: str
    weights: str
    accelerator: str
    batch: int
    objective: str
    target: str
    env_revision: int


@dataclass(frozen=True)
class Row:
    """One agent with one set of settings: a line of a table.

    Args:
        label: Name in tables, with the settings that distinguish it from other rows of the agent.
        agent: Name of the agent.
        runs: One run for each seed, by seed.
        telling: Settings that distinguish it from other rows of the agent, as text.
    """

    label: str
    agent: str
    runs: tuple[Result, ...]
    telling: str = ""

    @property
    def control(self) -> bool:
        """Whether the agent is one of the controls that learn nothing."""
        return self.agent in CONTROLS

    @property
    def seeds(self) -> list[int]:
        """The runs' seeds."""
        return [run.seed for run in self.runs]


@dataclass(frozen=True)
class Group:
    """Runs that may be compared: rows in alphabetical order, controls last.

    The runs in ``repeats`` are left out of the rows because their seed is there already.
    """

    key: Key
    rows: tuple[Row, ...]
    repeats: tuple[Result, ...]

    @property
    def runs(self) -> list[Result]:
        """All runs of all rows."""
        return [run for row in self.rows for run in row.runs]

    @property
    def wanted(self) -> dict[str, float]:
        """The target: the largest share of each cost of the unpruned network's."""
        return dict(json.loads(self.key.target))

    @property
    def missing_controls(self) -> list[str]:
        """The controls that were not run."""
        there = {row.agent for row in self.rows}
        missing = [name for name in CONTROLS if name not in there]
        return missing + ([] if any(run.scratch for run in self.runs) else [SCRATCH])


def key_of(result: Result) -> Key:
    """The group of a finished run."""
    setup = result.setup
    return Key(
        " version ".join(map(str, result.task)) if result.task else "",
        setup.config.env_id,
        setup.hashes["dataset"],
        setup.hashes["weights"],
        setup.hashes["accelerator"],
        setup.environment.accelerator_batch,
        setup.environment.objective,
        json.dumps(setup.wanted, sort_keys=True),
        setup.env_revision,
    )


def settings(result: Result) -> dict[str, Any]:
    """Settings that may differ between runs of one group, by name, without seed and machine."""
    config = result.setup.config
    given: dict[str, Any] = dict(config.agent_options)
    for name, value in config.env_arguments.items():
        if name not in _NOT_SETTINGS:
            given[f"env {name}"] = value
    if config.budget is None:
        given |= {f"limit {name}": value for name, value in config.limits.items()}
        given["final epochs"] = config.final_epochs
    else:
        given |= {"budget": config.budget, "search share": config.search_share}
    if config.warm_start:
        given["warm start episodes"] = config.warm_start
    return given


def group(results: Sequence[Result]) -> list[Group]:
    """Sort finished runs into groups, in the order of their first runs, and rows.

    Of runs with the same settings and seed the first one counts: a repeat is no independent sample.
    """
    by_key: dict[Key, list[Result]] = {}
    for result in results:
        by_key.setdefault(key_of(result), []).append(result)
    return [_group(key, members) for key, members in by_key.items()]


def _group(key: Key, members: Sequence[Result]) -> Group:
    by_row: dict[tuple[str, str], dict[int, Result]] = {}
    repeats = []
    for result in members:
        kind = (result.agent, json.dumps(settings(result), sort_keys=True))
        seeds = by_row.setdefault(kind, {})
        if result.seed in seeds:
            repeats.append(result)
        else:
            seeds[result.seed] = result
    labels = _labels(list(by_row))
    rows = [
        Row(labels[kind][0], kind[0], tuple(seeds[seed] for seed in sorted(seeds)), labels[kind][1])
        for kind, seeds in by_row.items()
    ]
    rows.sort(key=lambda row: (row.control, row.label))
    return Group(key, tuple(rows), tuple(repeats))


def _labels(kinds: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str]]:
    """Labels of rows, and the settings that distinguish the rows of one agent.

    Short settings are part of the label; rows with many are numbered.
    """
    result = {}
    for agent, text in kinds:
        namesakes = [json.loads(other) for name, other in kinds if name == agent]
        mine = json.loads(text)
        names = sorted({name for other in namesakes for name in other})
        telling = [name for name in names if len({_show(other, name) for other in namesakes}) > 1]
        shown = ", ".join(f"{name} {_show(mine, name)}" for name in telling)
        label = f"{agent} ({shown})" if shown else agent
        if len(shown) > LONG:
            number = namesakes.index(mine) + 1
            label, shown = f"{agent} #{number}", f"#{number}: {shown}"
        result[agent, text] = label, shown
    return result


def _show(given: Mapping[str, Any], name: str) -> str:
    return str(given[name]) if name in given else "default"


def differences(members: Sequence[Row]) -> list[str]:
    """Differences between rows of a group that a fair comparison would not have.

    Returns:
        One sentence for each setting of environment, budget, final fine-tune, machine, threads
        or package version that differs.
    """
    seen: dict[str, dict[str, list[str]]] = {}
    for row in members:
        for run in row.runs:
            setup, given = run.setup, settings(run)
            facts = {n: v for n, v in given.items() if n not in setup.config.agent_options}
            facts |= {"threads": setup.threads, "machine": machine(setup)}
            facts |= {f"{name} version": value for name, value in setup.versions.items()}
            for name, value in facts.items():
                labels = seen.setdefault(name, {}).setdefault(str(value), [])
                if row.label not in labels:
                    labels.append(row.label)
    everyone = {row.label for row in members}
    sentences = []
    for name, values in sorted(seen.items()):
        without = everyone - {label for labels in values.values() for label in labels}
        if without:
            values = {**values, "not set": sorted(without)}
        if len(values) > 1:
            parts = "; ".join(f"{value} ({', '.join(who)})" for value, who in values.items())
            sentences.append(f"{name}: {parts}")
    return sentences


def machine(setup: Setup) -> str:
    """The kind of a run's machine, as text."""
    facts = setup.machine
    device = facts.get("device_name") or facts.get("device", "?")
    return f"{facts.get('processor', '?')}, {facts.get('cores', '?')} cores, {device}"
