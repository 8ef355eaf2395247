"""Controls that learn nothing: without them a pruning result proves nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents.base import Action, Callback, EpisodicAgent, Observation
from prune_gym.files import write_json


class Control(EpisodicAgent):
    """Plays episodes without learning.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action and ``"features"``.
        seed: Of the draws.
        keep: Share of the filters kept in each layer, within (0, 1].
        duration: Fine-tuning of each step, 0 to 1.

    Raises:
        ValueError: A share out of range.
    """

    def __init__(
        self, env: gym.Env, seed: int = 0, keep: float = 0.5, duration: float = 0.1
    ) -> None:
        super().__init__(env, seed)
        if not 0 < keep <= 1:
            raise ValueError(f"keep={keep} is not within (0, 1]")
        if not 0 <= duration <= 1:
            raise ValueError(f"duration={duration} is not within [0, 1]")
        self.keep, self.duration = keep, duration
        self.random = np.random.default_rng(seed)

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Nothing is tried: the action is :meth:`act`'s."""
        return self.act(observation), 0

    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """Keep the filters of largest :meth:`rank`, a share :meth:`ratio` of them."""
        filters = int(np.sum(observation["action_mask"]))
        wanted = max(1, round(self.ratio() * filters))
        best = np.argsort(-self.rank(observation, filters), kind="stable")[:wanted]
        mask = np.zeros(len(observation["action_mask"]), np.int8)
        mask[best] = 1
        return {"mask": mask, "duration": np.array([self.duration], np.float32)}

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: there is nothing but the hyperparameters."""
        options = {"keep": self.keep, "duration": self.duration}
        write_json(folder / "policy.json", {"agent": type(self).__name__.lower(), **options})

    def load(self, folder: Path) -> None:
        """There is nothing to read: the hyperparameters were given to the constructor."""

    def ratio(self) -> float:
        """The share of filters to keep in the next layer."""
        return self.keep

    def rank(self, observation: Observation, filters: int) -> np.ndarray:
        """A number for each filter; the largest stay. Here: at random."""
        return self.random.random(filters)


class Uniform(Control):
    """The same share in every layer, filters at random."""


class Random(Control):
    """A share of its own for every layer, uniform between 0 and 2 ``keep`` (at most 1)."""

    def ratio(self) -> float:
        """See :meth:`Control.ratio`."""
        return float(self.random.uniform(0, min(1.0, 2 * self.keep)))


class L1(Control):
    """The same share in every layer, filters of the largest L1 norm (Li et al. 2017)."""

    def rank(self, observation: Observation, filters: int) -> np.ndarray:
        """See :meth:`Control.rank`."""
        if "l1" not in observation:
            raise ValueError("the l1 agent needs observation='features'")
        return np.asarray(observation["l1"])[:filters]
