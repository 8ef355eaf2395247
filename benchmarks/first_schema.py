"""A run's typed records in the form of the first schema, which the committed records have."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prune_gym.runs.config import LIMITS
from prune_gym.runs.records import Episode, Report, Setup, Step, best_so_far


def config_of(setup: Setup) -> dict[str, Any]:
    """The table of ``config.json``."""
    config = setup.config
    value: dict[str, Any] = {
        "schema": 1,
        "command": config.command(),
        "id": config.env_id,
        "env_arguments": dict(config.env_arguments),
        "agent": config.agent,
        "agent_options": dict(config.agent_options),
        "seed": config.seed,
        "budget": {name: getattr(config, name) for name in LIMITS},
        "final_epochs": config.final_epochs,
        "env_revision": setup.env_revision,
        "threads": setup.threads,
        "hashes": dict(setup.hashes),
        "versions": dict(setup.versions),
        "machine": dict(setup.machine),
        "started": setup.started,
    }
    if config.warm_start:
        value["warm_start"] = {"episodes": config.warm_start}
    return value


def episodes_of(setup: Setup, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """The tables of ``episodes.jsonl``."""
    flags = best_so_far(setup, episodes)
    return [_episode(setup, episode, best) for episode, best in zip(episodes, flags, strict=True)]


def _episode(setup: Setup, episode: Episode, best: bool) -> dict[str, Any]:
    own = {name: value for name, value in vars(episode).items() if name not in ("number", "costs")}
    return {
        "schema": 1,
        "episode": episode.number,
        "seed": setup.config.seed,
        "threads": setup.threads,
        "best": best,
        "target_met": setup.target(episode.accuracy, episode.costs).met,
        "score": setup.score(episode.accuracy, episode.costs),
        "params_ratio": setup.ratio(episode.costs, "params"),
        "macs_ratio": setup.ratio(episode.costs, "macs"),
        "cost_ratio": setup.ratio(episode.costs),
        **asdict(episode.costs),
        **own,
        "steps": [_step(setup, step) for step in episode.steps],
    }


def _step(setup: Setup, step: Step) -> dict[str, Any]:
    value = step.to_json() | {"rewards": {"psi": setup.psi(step.accuracy)}}
    block = value.pop("block", None)
    if block is not None:
        value |= block | {"autoencoder_updates": block["updates"]}
    return value


def report_of(report: Report) -> dict[str, Any]:
    """The table of ``report.json``."""
    setup, target = report.setup, report.target
    whole, own = setup.environment, report.to_json()
    config = config_of(setup)
    names = ("id", "env_arguments", "agent", "agent_options", "seed", "budget")
    return {
        "dataset": whole.dataset,
        "architecture": whole.network,
        "accuracy": own["accuracy"],
        "final_epochs": report.final_epochs,
        "objective": whole.objective,
        "accelerator": whole.accelerator,
        "accelerator_batch": whole.accelerator_batch,
        "costs": {"unpruned": asdict(setup.costs), "final": asdict(report.costs)},
        "ratios": report.ratios,
        "channels": {name: [n, setup.channels[name]] for name, n in report.channels.items()},
        "search": asdict(report.search),
        **{name: config[name] for name in names},
        **(
            {"target": {"wanted": target.wanted, "reached": target.reached, "met": target.met}}
            if target.wanted
            else {}
        ),
    }
