"""Controls that learn nothing: without them a pruning result proves nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Observation
from agents.start import ratio_for
from prune_gym.pruning import criteria


class Control(EpisodicAgent):
    """Plays episodes without learning.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        seed: Of the draws.
        keep: Share of the filters kept in each layer, within (0, 1]. None: the largest with which
            the environment's target is met, or 0.5 without one.
        duration: Fine-tuning of each step, 0 to 1.

    Raises:
        ValueError: A share out of range, or the observation does not show what ranks the filters.
    """

    criterion: ClassVar[str | None] = None
    """What ranks the filters, of :data:`prune_gym.pruning.criteria.CRITERIA`; None: chance."""

    def __init__(
        self, env: gym.Env, seed: int = 0, keep: float | None = None, duration: float = 0.1
    ) -> None:
        super().__init__(env, seed)
        if keep is not None and not 0 < keep <= 1:
            raise ValueError(f"keep={keep} is not within (0, 1]")
        if not 0 <= duration <= 1:
            raise ValueError(f"duration={duration} is not within [0, 1]")
        if self.criterion is not None:
            criteria.check(self.criterion, env)
        self.keep = ratio_for(env) if keep is None else keep
        self.duration = duration
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
        """Keep the filters of largest :meth:`rank`, a share :meth:`ratio` of them.

        In the ALF mode there is nothing to rank: the autoencoder is asked to keep that share.
        """
        duration = np.array([self.duration], np.float32)
        if getattr(self.env.unwrapped, "action_mode", "filters") == "alf":
            return {"sparsity": np.array([1 - self.ratio()], np.float32), "duration": duration}
        filters = int(np.sum(observation["action_mask"]))
        wanted = max(1, round(self.ratio() * filters))
        ranks = self.rank(observation, filters)
        mask = criteria.keep_best(ranks, wanted, len(observation["action_mask"]))
        return {"mask": mask, "duration": duration}

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: the hyperparameters and the random state."""
        state = self.random.bit_generator.state
        options = {"keep": self.keep, "duration": self.duration}
        files.write_facts(folder, self, type(self).__name__.lower(), options=options, random=state)

    def load(self, folder: Path) -> None:
        """Read the random state; the hyperparameters were given to the constructor.

        Raises:
            WeightsError: It is missing, damaged, or of another agent.
        """
        facts = files.read_facts(folder, self, type(self).__name__.lower())
        files.set_random(self.random, facts.get("random"))

    def ratio(self) -> float:
        """The share of filters to keep in the next layer."""
        return self.keep

    def rank(self, observation: Observation, filters: int) -> np.ndarray:
        """A number for each filter; the largest stay. At random where there is no criterion."""
        if self.criterion is None:
            return self.random.random(filters)
        return criteria.scores(self.criterion, observation, self.env)


class Uniform(Control):
    """The same share in every layer, filters at random; in the ALF mode, of codes."""

    action_modes = ("filters", "alf")


class Random(Control):
    """A share of its own for every layer, uniform between 0 and 2 ``keep`` (at most 1)."""

    action_modes = ("filters", "alf")

    def ratio(self) -> float:
        """See :meth:`Control.ratio`."""
        return float(self.random.uniform(0, min(1.0, 2 * self.keep)))


class L1(Control):
    """The same share in every layer, filters of the largest L1 norm (Li et al. 2017)."""

    criterion = "l1"


class FPGM(Control):
    """The same share in every layer, without the filters nearest to all others.

    Those of the least summed distance to the layer's filters are the ones that the others can
    replace (He et al. 2019, "Filter Pruning via Geometric Median", section 3.3).
    """

    criterion = "fpgm"
