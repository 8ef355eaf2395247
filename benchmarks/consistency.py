"""What a record's parts say of each other, before any of it is played again."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.records import Tolerance, portable
from benchmarks.results import Result


def rank(episode: Mapping[str, Any], target: Any) -> tuple[bool, float]:
    """What the best network of a run is chosen by (:meth:`prune_gym.runs.Setup.rank`)."""
    met = bool(episode["target_met"])
    by_accuracy = target.bounds_costs or not met
    return met, episode["accuracy"] if by_accuracy else episode["score"]


SUMS = 1e-9
"""Floats of one formula."""


def hold(result: Result, env: Any, allowed: Tolerance) -> list[str]:
    """All that can be held against the record itself and its environment's settings.

    Args:
        result: A finished record.
        env: Unwrapped; nothing is played in it.
        allowed: How far accuracies may be off, the unpruned network's here among them.

    Returns:
        One line for each contradiction.
    """
    return [
        *_names(result),
        *_numbering(result),
        *_budget(result),
        *_best(result, env),
        *_scores(result, env, allowed),
        *_report(result, env),
    ]


def copies(results: Sequence[Result]) -> tuple[list[str], list[str]]:
    """Runs that others were made of: a step's seed is drawn from 62 bits, by the run's own seed.

    Args:
        results: Records that are told as independent.

    Returns:
        One line for each that has the steps of another seed's run; and one for each that is there
        twice, which tables count once.
    """
    wrong, repeats = list[str](), list[str]()
    drawn: dict[int, Result] = {}
    runs: dict[str, Result] = {}
    for result in results:
        steps = [step for episode in result.episodes for step in episode["steps"]]
        for seed in {step["seed"] for step in steps if "seed" in step}:
            other = drawn.setdefault(seed, result)
            if other.config["seed"] != result.config["seed"]:
                wrong.append(f"{result.source}: it has steps of {other.source}, of another seed")
                break
        facts = {"config": result.config, "episodes": result.episodes, "task": result.task}
        other = runs.setdefault(json.dumps(facts, sort_keys=True), result)
        if other is not result:
            repeats.append(f"{result.source} is {other.source} once more: tables count it once")
    return wrong, repeats


def _report_of(result: Result) -> Mapping[str, Any]:
    assert result.report is not None
    return result.report


def _names(result: Result) -> Iterator[str]:
    """Seeds, agent and settings are told in several places."""
    config, report = result.config, _report_of(result)
    seeds = {episode["seed"] for episode in result.episodes} | {report.get("seed")}
    for name, found in (("agent", {report.get("agent")}), ("seed", seeds)):
        if found != {config[name]}:
            yield f"the {name} is {config[name]!r}, elsewhere in the record {list(found)}"
    for name in ("id", "env_arguments", "agent_options", "budget", "final_epochs"):
        if report.get(name, config[name]) != config[name]:
            yield f"report: {name} is {report[name]}, the run's is {config[name]}"


def _numbering(result: Result) -> Iterator[str]:
    """Episodes are counted from 0, and none can be left out."""
    for number, episode in enumerate(result.episodes):
        if episode["episode"] != number:
            yield f"episode {episode['episode']} stands where episode {number} belongs"


def _budget(result: Result) -> Iterator[str]:
    """What was spent only grows, by each episode at least, and ends the search when it is over."""
    most, total = result.config["budget"]["search_macs"], 0
    for episode in result.episodes:
        where, now = f"episode {episode['episode']}", episode["search_macs_total"]
        if total >= most:
            yield f"{where}: it began though the budget of {most:g} search MACs was spent"
        if now < total + episode["search_macs"]:
            yield f"{where}: search_macs_total is {now}, less than was spent by then"
        total = now
    told, last = _report_of(result)["search"], result.episodes[-1]
    here = {name: last[name] for name in told if name in last} | {"episodes": len(result.episodes)}
    for name, value in told.items():
        if value != here.get(name):
            yield f"report: {name} is {value}, the last episode's is {here.get(name)}"


def _best(result: Result, env: Any) -> Iterator[str]:
    """The best episodes are those that were better than all before, and they have their steps."""
    best: tuple[bool, float] | None = None
    for episode in result.episodes:
        where, worth = f"episode {episode['episode']}", rank(episode, env.target)
        better = episode["complete"] and (best is None or worth > best)
        best = worth if better else best
        if episode["best"] != better:
            yield f"{where}: it is {'' if better else 'not '}the best so far, and says otherwise"
        if better and not episode["steps"]:
            yield f"{where}: it is the best so far and has no steps, so nothing vouches for it"


def _scores(result: Result, env: Any, allowed: Tolerance) -> Iterator[str]:
    """Scores and accuracy terms follow from accuracies and costs."""
    formula = env.reward_function
    for episode in result.episodes:
        where, ratio = f"episode {episode['episode']}", episode["cost_ratio"]
        # The unpruned network's accuracy, which both depend on, drifts as every other one.
        low, high = sorted(
            formula.score(episode["accuracy"] + drift, ratio)
            for drift in (-allowed.mean, allowed.mean)
        )
        if not low - SUMS <= episode["score"] <= high + SUMS:
            yield f"{where}: score is {episode['score']}, here {(low + high) / 2}"
        for number, step in enumerate(episode["steps"]):
            psi, accuracy = step["rewards"]["psi"], step["accuracy"]
            low, high = (formula.psi(accuracy + drift) for drift in (-allowed.mean, allowed.mean))
            if not low - SUMS <= psi <= high + SUMS:
                yield f"{where}, step {number}: psi is {psi}, here {(low + high) / 2}"


def _report(result: Result, env: Any) -> Iterator[str]:
    """What a report says of data, network and accelerator."""
    report, costs = _report_of(result), env.baseline.costs
    here = {
        "dataset": portable(env.baseline.dataset.name),
        "architecture": env.baseline.network.architecture,
        "objective": costs.objective,
        "accelerator": costs.accelerator.name,
        "accelerator_batch": costs.batch,
    }
    for name, value in here.items():
        if report.get(name) != value:
            yield f"report: {name} is {report.get(name)!r}, here {value!r}"
