"""A search that survives a kill: what a run needs to go on from its last finished episode.

``RUN/checkpoint`` holds the agent (``agent.save``), the best network, and ``state.json`` with the
environment's random generator and the counters. A new checkpoint is written beside the old one
and takes its place by renaming, so that at every moment one of them is whole.
"""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.base import Agent
from prune_gym.errors import PruneGymError
from prune_gym.files import write_json
from prune_gym.pruning.saved import save_network
from prune_gym.runs import folder as run_folder
from prune_gym.runs.loading import state_of
from prune_gym.runs.recorder import Recorder

FOLDER, _NEW, _OLD = run_folder.CHECKPOINTS
STATE, AGENT, BEST = "state.json", "agent", "best"
SCHEMA = 1


class CheckpointingRecorder(Recorder):
    """A recorder that also writes a checkpoint between episodes."""

    def on_checkpoint(self, agent: Agent) -> None:
        """Write a whole checkpoint, then let it take the old one's place."""
        new = self.folder / _NEW
        shutil.rmtree(new, ignore_errors=True)
        (new / AGENT).mkdir(parents=True)
        agent.save(new / AGENT)
        if self.best is not None:
            network = self.best.network(self.env.baseline.network)
            save_network(new / BEST, network, self.best.kept)
        # Written last: a folder that has it is whole.
        write_json(new / STATE, self._state())
        old = self.folder / _OLD
        shutil.rmtree(old, ignore_errors=True)
        if (self.folder / FOLDER).exists():
            os.replace(self.folder / FOLDER, old)
        os.replace(new, self.folder / FOLDER)
        shutil.rmtree(old, ignore_errors=True)

    def _state(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "random": self.env.np_random.bit_generator.state,
            "search_macs_total": self.env.search_macs_total,
            "best_accuracy": None if self.best is None else self.best.accuracy,
            **self.counters(),
        }

    def restore(self, agent: Agent) -> bool:
        """Take up the search where the folder's checkpoint left it.

        Args:
            agent: Made as the run's was; it gets what was saved.

        Returns:
            Whether there was a checkpoint; without one the search begins anew.

        Raises:
            PruneGymError: The checkpoint is damaged or of another schema.
        """
        folder = _whole(self.folder)
        run_folder.keep_episodes(self.folder, 0 if folder is None else read(folder)["episodes"])
        if folder is None:
            return False
        state = read(folder)
        agent.load(folder / AGENT)
        self.env.np_random.bit_generator.state = state["random"]
        self.env.search_macs_total = state["search_macs_total"]
        self.set_counters(state)
        if state["best_accuracy"] is not None:
            # The accuracy is the one that the search saw, to the last bit.
            found = state_of(folder / BEST, self.env)
            self.best = replace(found, accuracy=state["best_accuracy"])
            network = self.best.network(self.env.baseline.network)
            save_network(self.folder / run_folder.BEST, network, self.best.kept)
        return True


def _whole(folder: Path) -> Path | None:
    """The newest whole checkpoint; a kill between two renames leaves it by another name."""
    for name in (FOLDER, _NEW, _OLD):
        if (folder / name / STATE).is_file():
            return folder / name
    return None


def read(folder: Path) -> dict[str, Any]:
    """The counters of a checkpoint.

    Raises:
        PruneGymError: Damaged, or of another schema.
    """
    path = folder / STATE
    try:
        state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PruneGymError(f"{str(path)!r} is damaged ({error}).") from error
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise PruneGymError(f"{str(path)!r} is no checkpoint of schema {SCHEMA}.")
    return state
