"""Records played again: actions in, metrics out."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import consistency, records
from benchmarks.results import Result
from prune_gym.envs.target import ACCURACY
from prune_gym.errors import PruneGymError
from prune_gym.runs.finish import fine_tune

EXACT = ("params", "macs", "cycles")
FLOATS = ("latency_ms", "energy_uj")
RATIOS = ("params_ratio", "macs_ratio", "cost_ratio")
CLOSE = 1e-12
"""Sums of floats in one order: all that may differ is the last bit."""
FEW = 100
"""A reward moves by a few times what the accuracy moves."""


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
    wrong += consistency.hold(result, env, allowed)
    for episode in played:
        where = f"{result.source}: episode {episode['episode']}"
        for number, step in enumerate(episode["steps"]):
            _check_step(step, f"{where}, step {number}", env)
        spaces = [step["space"] for step in episode["steps"]]
        if spaces != [space.name for space in env.visited]:
            return [f"{where}: it has {len(spaces)} steps, here {len(env.visited)} of other layers"]
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
        wrong += _hold_accuracies(result, env, allowed.final)
    return [f"{result.source}: {line}" for line in wrong]


def compressed_as_a_whole(episode: Mapping[str, Any]) -> bool:
    """Whether an agent trained all of the network at once: its steps cannot be played again."""
    return all("seed" not in step and "codes" in step for step in episode["steps"])


def trained_as_a_whole(result: Result) -> bool:
    """Whether of a record's network costs alone can be held."""
    played = [episode for episode in result.episodes if episode["steps"]]
    return bool(played) and compressed_as_a_whole(played[-1])


def _check_step(step: Mapping[str, Any], where: str, env: Any) -> None:
    """Refuse what the environment could not be given; kinds were held when the file was read."""
    width, whole = env.width, "codes" in step and "seed" not in step
    if any(number >= width for number in step["kept"]):
        raise PruneGymError(
            f"{where}: kept={step['kept']} names a filter that is not there: it was edited. Run "
            "it again, or leave it out."
        )
    if (whole or "sparsity" in step) and env.action_mode != "alf":
        raise PruneGymError(
            f"{where}: it has codes or a sparsity, the environment's action_mode is "
            f"{env.action_mode!r}: it was edited. Run it again, or leave it out."
        )


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
        wrong += _rewards(at, step["rewards"], info["rewards"], allowed)
        drifts.append(abs(info["accuracy"] - step["accuracy"]))
    wrong += _differences(f"{where}, end", episode, info, allowed)
    for name in RATIOS:
        if not np.isclose(episode[name], info[name], rtol=CLOSE, atol=0):
            wrong.append(f"{where}: {name} is {episode[name]}, here {info[name]}")
    if episode["target_met"] != info["target_met"] and allowed <= records.SAME[0]:
        wrong.append(f"{where}: target_met is {episode['target_met']}, here {info['target_met']}")
    if episode["search_macs"] != info["search_macs"]:
        wrong.append(
            f"{where}: search_macs is {episode['search_macs']}, here {info['search_macs']}"
        )
    return wrong


def _rewards(
    where: str, wanted: Mapping[str, float], found: Mapping[str, float], allowed: float
) -> list[str]:
    """Rewards follow the accuracies; elsewhere those are held alone."""
    if allowed > records.SAME[0]:
        return []
    return [
        f"{where}: reward {name} is {value}, here {found.get(name)}"
        for name, value in wanted.items()
        if not abs(found.get(name, np.inf) - value) <= FEW * allowed
    ]


def _hold_costs(episode: Mapping[str, Any], env: Any) -> list[str]:
    """Costs of a network that was compressed as a whole."""
    where = f"episode {episode['episode']}"
    codes: dict[str, int] = {}
    wrong: list[str] = []
    for number, step in enumerate(episode["steps"]):
        codes[step["space"]] = step["codes"]
        # What is not replayed cannot differ.
        found = {**env.costs_of(codes).as_dict(), "accuracy": step["accuracy"]}
        wrong += _differences(f"{where}, step {number} ({step['space']})", step, found, 0.0)
    found["accuracy"] = episode["accuracy"]
    return wrong + _differences(f"{where}, end", episode, found, 0.0)


def _action(step: Mapping[str, Any], env: Any) -> dict[str, np.ndarray]:
    duration = np.array([step["duration"]], np.float32)
    if "sparsity" in step:
        return {"sparsity": np.array([step["sparsity"]], np.float32), "duration": duration}
    mask = np.zeros(env.width, np.int8)
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
    full = env.baseline.costs.of().as_dict()
    if compressed_as_a_whole(episode):
        costs = env.costs_of({step["space"]: step["codes"] for step in episode["steps"]})
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
    if not compressed_as_a_whole(episode):
        left, spaces = env.snapshot().counts(), env.baseline.network.spaces
        channels = {space.name: [left[space.name], space.channels] for space in spaces}
        if report["channels"] != channels:
            wrong.append(f"report: channels are {report['channels']}, here {channels}")
    if env.target.wanted:
        accuracy = report["accuracy"]["validation"]
        drop = accuracy["unpruned"] - accuracy["final"]
        found = env.target.report(costs, env.target.baseline_accuracy - drop)
        told = report.get("target", {})
        if told.get("met") != found["met"]:
            wrong.append(
                f"report: the target {found['wanted']} is{' ' if found['met'] else ' not '}met"
            )
        for name in ("wanted", "reached"):
            own = told.get(name, {})
            if set(own) != set(found[name]) or any(
                not np.isclose(own[cost], value, rtol=CLOSE, atol=0)
                for cost, value in found[name].items()
                if cost != ACCURACY
            ):
                wrong.append(f"report: the target's {name} is {own}, here {found[name]}")
    return wrong


def _hold_accuracies(result: Result, env: Any, allowed: float) -> list[str]:
    """A report's accuracies, held against the final fine-tune done again."""
    report, config = result.report or {}, result.config
    _, *found = fine_tune(env.baseline, env.snapshot(), config["final_epochs"], config["seed"])
    wrong: list[str] = []
    for split, accuracies in zip(("validation", "test"), found, strict=True):
        for which, accuracy in vars(accuracies).items():
            if accuracy is None:
                continue
            told = f"report: {split} accuracy, {which},"
            wrong += _accuracy(told, report["accuracy"][split][which], accuracy, allowed)
    return wrong
