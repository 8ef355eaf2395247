"""Records played again: actions in, metrics out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import records
from benchmarks.results import Result
from prune_gym.errors import PruneGymError
from prune_gym.finish import fine_tuned

EXACT = ("params", "macs", "cycles")
FLOATS = ("latency_ms", "energy_uj")
RATIOS = ("params_ratio", "macs_ratio", "cost_ratio")
CLOSE = 1e-12
"""Sums of floats in one order: all that may differ is the last bit."""
FEW = 100
"""A score moves by a few times what the accuracy moves."""


def replay(result: Result, env: Any, final: bool = False) -> list[str]:
    """Play a record's steps again, and hold its report against the network that they make.

    Args:
        result: The record; episodes without steps are held against nothing.
        env: From :func:`benchmarks.records.make_environment`, unwrapped.
        final: Whether the final fine-tune is done again, too, and every accuracy of the report
            held against it.

    Returns:
        One line for each figure that differs.

    Raises:
        PruneGymError: A step holds what no step can.
    """
    allowed = records.tolerance(result)
    report, wrong = result.report, list[str]()
    played = [episode for episode in result.episodes if episode["steps"]]
    if not played or not report:
        missing = "no episode has steps" if not played else "there is no report"
        return [f"{result.source}: {missing}, so nothing vouches for its figures"]
    wrong += _hold_run(result)
    for episode in played:
        where = f"{result.source}: episode {episode['episode']}"
        for number, step in enumerate(episode["steps"]):
            _check_step(step, f"{where}, step {number}", env)
        if len(episode["steps"]) != len(env.visited):
            return [f"{where}: it has {len(episode['steps'])} steps, here {len(env.visited)}"]
        if not compressed_as_a_whole(episode) and any("seed" not in s for s in episode["steps"]):
            return [f"{where}: its steps name no seed, so it cannot be replayed"]
    drifts: list[float] = []
    for episode in played:
        if compressed_as_a_whole(episode):
            wrong += _hold_costs(episode, env)
        else:
            wrong += _replay_episode(episode, env, allowed.each, drifts)
    if drifts and np.mean(drifts) > allowed.mean:
        wrong.append(
            f"accuracies differ by {np.mean(drifts):.6f} on average (allowed: {allowed.mean:g})"
        )
    # Of the best episodes the last one's network is the run's.
    wrong += _hold_report(report, played[-1], env)
    if final and not compressed_as_a_whole(played[-1]):
        wrong += _hold_accuracies(report, result.config["seed"], env, allowed.final)
    return [f"{result.source}: {line}" for line in wrong]


def _hold_run(result: Result) -> list[str]:
    """What a record's parts say of each other: seeds, agent, what was spent, which was the best."""
    config, report, wrong = result.config, result.report or {}, list[str]()
    seeds = {episode.get("seed") for episode in result.episodes} | {report.get("seed")}
    for name, found in (("agent", {report.get("agent")}), ("seed", seeds)):
        if found != {config[name]}:
            wrong.append(f"the {name} is {config[name]!r}, elsewhere in the record {list(found)}")
    total = 0
    for episode in result.episodes:
        if episode["search_macs_total"] < total + episode["search_macs"]:
            told = f"search_macs_total is {episode['search_macs_total']}, less than was spent"
            wrong.append(f"episode {episode['episode']}: {told} by then")
        total = episode["search_macs_total"]
    if report.get("search", {}).get("search_macs_total") != total:
        wrong.append(f"report: search_macs_total is not the last episode's, {total}")
    met = [episode for episode in result.episodes if episode["complete"] and episode["target_met"]]
    best = [episode["accuracy"] for episode in met if episode["best"]]
    for episode in met:
        if best and episode["accuracy"] > best[-1]:
            wrong.append(
                f"episode {episode['episode']}: accuracy {episode['accuracy']} is above the best "
                f"episode's, {best[-1]}"
            )
    return wrong


def compressed_as_a_whole(episode: Mapping[str, Any]) -> bool:
    """Whether an agent trained all of the network at once: its steps cannot be played again."""
    return all("seed" not in step and "codes" in step for step in episode["steps"])


def _check_step(step: Mapping[str, Any], where: str, env: Any) -> None:
    """Refuse what the environment could not be given."""
    numbers = ("accuracy", "duration", *EXACT, *FLOATS)
    bad = [name for name in numbers if not _is(step.get(name), int, float)]
    kept, width = step.get("kept"), env.observer.width
    if not isinstance(kept, list) or not all(_is(k, int) and 0 <= k < width for k in kept):
        bad.append("kept")
    if "seed" in step and not (_is(step["seed"], int) and 0 <= step["seed"] < 2**63):
        bad.append("seed")
    bad += [
        name for name in ("sparsity", "codes") if name in step and not _is(step[name], int, float)
    ]
    if bad or not 0 <= step["duration"] <= 1:
        named = ", ".join(f"{name}={step.get(name)!r}" for name in bad or ["duration"])
        raise PruneGymError(
            f"{where}: {named} cannot be: it was edited. Run it again, or leave it out."
        )


def _is(value: Any, *kinds: type) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


def _replay_episode(
    episode: Mapping[str, Any], env: Any, allowed: float, drifts: list[float]
) -> list[str]:
    """Play an episode; how far each step's accuracy is from the record's goes to ``drifts``."""
    where = f"episode {episode['episode']}"
    env.reset(seed=episode["seed"])
    if episode["episode"] == 0:
        drawn = int(env.np_random.integers(2**62))
        if episode["steps"][0]["seed"] != drawn:
            return [f"{where}: its first step did not draw what seed {episode['seed']} draws"]
    wrong: list[str] = []
    info: Mapping[str, Any] = {}
    for number, step in enumerate(episode["steps"]):
        *_, info = env.replay(_action(step, env), step["seed"])
        at = f"{where}, step {number} ({step['space']})"
        if np.flatnonzero(info["mask"]).tolist() != step["kept"]:
            wrong.append(f"{at}: kept {len(step['kept'])} filters, other ones are executed here")
        wrong += _differences(at, step, info, allowed)
        drifts.append(abs(info["accuracy"] - step["accuracy"]))
    wrong += _differences(f"{where}, end", episode, info, allowed)
    for name in RATIOS:
        if not np.isclose(episode[name], info[name], rtol=CLOSE, atol=0):
            wrong.append(f"{where}: {name} is {episode[name]}, here {info[name]}")
    # Elsewhere the score differs as the accuracy does.
    if allowed <= records.SAME[0] and abs(episode["score"] - info["score"]) > FEW * allowed:
        wrong.append(f"{where}: score is {episode['score']}, here {info['score']}")
    if episode["search_macs"] != info["search_macs"]:
        wrong.append(
            f"{where}: search_macs is {episode['search_macs']}, here {info['search_macs']}"
        )
    return wrong


def _hold_costs(episode: Mapping[str, Any], env: Any) -> list[str]:
    """Costs of a network that was compressed as a whole."""
    where = f"episode {episode['episode']}"
    codes: dict[str, int] = {}
    wrong: list[str] = []
    for number, step in enumerate(episode["steps"]):
        codes[step["space"]] = step["codes"]
        # What is not replayed cannot differ.
        found = {**env.mode.costs_of(codes).as_dict(), "accuracy": step["accuracy"]}
        wrong += _differences(f"{where}, step {number} ({step['space']})", step, found, 0.0)
    found["accuracy"] = episode["accuracy"]
    return wrong + _differences(f"{where}, end", episode, found, 0.0)


def _action(step: Mapping[str, Any], env: Any) -> dict[str, np.ndarray]:
    duration = np.array([step["duration"]], np.float32)
    if "sparsity" in step:
        return {"sparsity": np.array([step["sparsity"]], np.float32), "duration": duration}
    mask = np.zeros(env.observer.width, np.int8)
    mask[step["kept"]] = 1
    return {"mask": mask, "duration": duration}


def _differences(
    where: str, wanted: Mapping[str, Any], found: Mapping[str, Any], allowed: float
) -> list[str]:
    """One line for each figure that differs."""
    wrong = _costs(where, {name: wanted[name] for name in (*EXACT, *FLOATS)}, found)
    return wrong + _accuracy(f"{where}: accuracy", wanted["accuracy"], found["accuracy"], allowed)


def _costs(where: str, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{where}: {name} is {value}, here {found[name]}"
        for name, value in wanted.items()
        if not np.isclose(value, found[name], rtol=CLOSE if name in FLOATS else 0, atol=0)
    ]


def _accuracy(name: str, wanted: float, found: float, allowed: float) -> list[str]:
    if abs(wanted - found) <= allowed:
        return []
    return [f"{name} is {wanted:.6f}, here {found:.6f} (allowed: {allowed:g})"]


# The report


def _hold_report(report: Mapping[str, Any], episode: Mapping[str, Any], env: Any) -> list[str]:
    """What a report says of costs and target, held against the best episode's network."""
    full = env.task.costs.of().as_dict()
    if compressed_as_a_whole(episode):
        costs = env.mode.costs_of({step["space"]: step["codes"] for step in episode["steps"]})
    else:
        costs = env.snapshot().costs
    here = {"unpruned": full, "final": costs.as_dict()}
    wrong: list[str] = []
    for which, found in here.items():
        wrong += _costs(f"report, costs of the {which}", report["costs"][which], found)
    ratios = {name: value / here["final"][name] for name, value in full.items()}
    for name, value in report["ratios"].items():
        if not np.isclose(value, ratios[name], rtol=CLOSE, atol=0):
            wrong.append(f"report: the ratio of {name} is {value}, here {ratios[name]}")
    if env.target.wanted:
        accuracy = report["accuracy"]["validation"]
        drop = accuracy["unpruned"] - accuracy["final"]
        found = env.target.report(costs, env.target.baseline_accuracy - drop)
        if report.get("target", {}).get("met") != found["met"]:
            wrong.append(
                f"report: the target {found['wanted']} is{' ' if found['met'] else ' not '}met"
            )
    return wrong


def _hold_accuracies(report: Mapping[str, Any], seed: int, env: Any, allowed: float) -> list[str]:
    """A report's accuracies, held against the final fine-tune done again."""
    _, found = fine_tuned(env.task, env.snapshot(), report["final_epochs"], seed)
    wrong: list[str] = []
    for split, accuracies in found.items():
        for which, accuracy in accuracies.items():
            told = f"report: {split} accuracy, {which},"
            wrong += _accuracy(told, report["accuracy"][split][which], accuracy, allowed)
    return wrong
