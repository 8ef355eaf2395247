"""Checkpoints: what a search needs to continue after its last finished episode.

``RUN/checkpoint`` holds the agent (``agent.save``), the best network, and ``state.json`` with the
environment's random generator and the counters. A new checkpoint is written beside the old one and
replaces it by renaming, so that at every moment one of them is complete.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prune_gym import manifest
from prune_gym.envs import PruningEnv
from prune_gym.envs.state import State
from prune_gym.errors import DamagedError, PruneGymError
from prune_gym.files import write_json
from prune_gym.interface import Agent
from prune_gym.jsonfile import Count, JsonRecord, read_json
from prune_gym.pruning.saved import load_network_into, read_description, save_network
from prune_gym.runs.folder import BEST, CHECKPOINTS, EPISODES, hash_episodes, read_episodes
from prune_gym.runs.records import SCHEMA, Spending

SAVED = "The best network, if it is whole, can still be used: --network RUN/best."
STATE, AGENT = "state.json", "agent"


@dataclass(frozen=True)
class Progress(Spending, JsonRecord):
    """How far a search has come: the content of ``state.json``.

    Args:
        updates: Updates of the agent.
        episodes_sha256: SHA-256 of the lines of the episodes.
        random: State of the environment's random generator.
    """

    SCHEMA = SCHEMA

    updates: Count
    episodes_sha256: str
    random: Mapping[str, Any]


def write(
    folder: Path, agent: Agent, env: PruningEnv, best: State | None, progress: Progress
) -> None:
    """Write a complete checkpoint of a run, then replace the old one with it."""
    current, new, old = (folder / name for name in CHECKPOINTS)
    shutil.rmtree(new, ignore_errors=True)
    (new / AGENT).mkdir(parents=True)
    agent.save(new / AGENT)
    if best is not None:
        save_network(new / BEST, best.network(env.baseline.network), best.kept)
    write_json(new / STATE, progress.to_json())
    manifest.seal(new)  # a folder that has a manifest is complete
    shutil.rmtree(old, ignore_errors=True)
    if current.exists():
        os.replace(current, old)
    os.replace(new, current)
    shutil.rmtree(old, ignore_errors=True)


def find(folder: Path) -> Path | None:
    """The newest complete checkpoint of a run, whatever a kill between two renames left."""
    for name in CHECKPOINTS:
        if manifest.sealed(folder / name):
            return folder / name
    return None


def read(folder: Path) -> Progress:
    """Check the files of a checkpoint, and read ``state.json``.

    Raises:
        DamagedError: If a file is missing or damaged.
        PruneGymError: If the file is of another schema.
    """
    manifest.check(folder, f"{SAVED} Restore the folder, or start a new run.")
    return Progress.from_json(*read_json(folder / STATE))


def hold_episodes(folder: Path, progress: Progress) -> None:
    """Hold ``episodes.jsonl`` of a run against its newest checkpoint.

    Raises:
        DamagedError: If episodes were lost, repeated or edited.
    """
    numbers = [episode.number for episode in read_episodes(folder)]
    same = hash_episodes(folder, progress.episodes) == progress.episodes_sha256
    if len(numbers) < progress.episodes or numbers != list(range(len(numbers))) or not same:
        raise DamagedError(
            f"{str(folder / EPISODES)!r} does not hold the {progress.episodes} episodes of the "
            f"checkpoint: lines were lost, repeated or edited. {SAVED} Restore the file, or start "
            "a new run."
        )


def load(
    folder: Path, agent: Agent, env: PruningEnv, progress: Progress, accuracy: float | None
) -> State | None:
    """Give agent and environment (reset) the state of a checkpoint, and return the best network.

    ``accuracy`` is that of the best network as the search saw it; None without a best network.
    """
    agent.load(folder / AGENT)
    try:
        env.np_random.bit_generator.state = dict(progress.random)
    except (KeyError, TypeError, ValueError) as error:
        raise PruneGymError(
            f"{str(folder / STATE)!r}: the state of the random generator is damaged ({error}). "
            "Start a new run."
        ) from error
    env.search_macs_total = progress.search_macs_total
    if accuracy is None:
        return None
    # The search's own accuracy, to the last bit.
    return replace(load_state(folder / BEST, env), accuracy=accuracy)


def load_best(folder: Path, env: PruningEnv) -> State:
    """The best network of a run, as a state of its environment.

    Raises:
        PruneGymError: If no episode of the run was finished.
    """
    best = folder / BEST
    if not manifest.sealed(best):
        raise PruneGymError(
            f"{str(folder)!r} has no best network, because no episode was finished. Resume the run "
            "with a larger budget."
        )
    manifest.check(best, f"Resume the run (prune-gym train --resume {folder}).")
    return load_state(best, env)


def load_state(folder: Path, env: PruningEnv) -> State:
    """A saved network, as a state of its environment (reset) after the last space.

    Raises:
        WeightsError: If the network is missing, damaged or of another architecture.
    """
    baseline = env.baseline
    network = load_network_into(folder, baseline.network)
    module = network.module.to(baseline.device).eval()
    accuracy, _ = baseline.evaluate(module)
    described = read_description(folder).kept
    start = env.snapshot()
    return State(
        module=module,
        spaces=network.spaces,
        kept={
            name: start.kept[name][index] if name in start.kept else index
            for name, index in described.items()
        },
        position=len(env.visited),
        accuracy=accuracy,
        costs=baseline.cost_model(module, network.spaces).of(
            {space.name: space.channels for space in network.spaces}
        ),
        activation=start.activation[:0],
        random=start.random,
    )
