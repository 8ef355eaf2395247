"""Controls that learn nothing: a pruning result must be better than theirs."""

from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from agents.common import checks
from agents.common.keep_ratio import ratio_for
from prune_gym.pruning import criteria


class Control(EpisodicAgent):
    """Plays episodes without learning.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        seed: Seed of the draws.
        keep: Keep ratio of each layer, within (0, 1]. None: the largest ratio that meets the
            environment's target, or 0.5 without a target.
        duration: Duration of each step's fine-tuning, 0 to 1.

    Raises:
        ValueError: A number is out of range, or the observation lacks the criterion's entry.
    """

    criterion: ClassVar[str | None] = None
    """Criterion that ranks the filters, one of :data:`prune_gym.pruning.criteria.CRITERIA`; None:
    filters are chosen at random."""

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        keep: float | None = None,
        duration: float = 0.1,
    ) -> None:
        super().__init__(env, seed)
        if keep is not None and not 0 < keep <= 1:
            raise ValueError(f"keep={keep} is not within (0, 1]")
        if self.criterion is not None:
            criteria.check(self.criterion, env)
        self.keep = ratio_for(env) if keep is None else keep
        self.duration = duration
        checks.share(self, "duration")
        self.random = np.random.default_rng(seed)

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Return the action of :meth:`act`; nothing is tried."""
        return self.act(observation), 0

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Keep a share :meth:`ratio` of the filters, those of the largest :meth:`rank`.

        The ALF mode has no filters to rank: the autoencoder keeps this share of the codes.
        """
        duration = np.array([self.duration], np.float32)
        if self.pruning.action_mode == "alf":
            return {"sparsity": np.array([1 - self.ratio()], np.float32), "duration": duration}
        filters = int(np.sum(observation["action_mask"]))
        count = max(1, round(self.ratio() * filters))
        ranks = self.rank(observation, filters)
        mask = criteria.keep_best(ranks, count, len(observation["action_mask"]))
        return {"mask": mask, "duration": duration}

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: the hyperparameters and the random state."""
        state = self.random.bit_generator.state
        options = {"keep": self.keep, "duration": self.duration}
        files.write_facts(folder, self, type(self).__name__.lower(), options=options, random=state)

    def load(self, folder: Path) -> None:
        """Read the random state and the counters; the constructor sets the hyperparameters."""
        facts = files.read_facts(folder, self, type(self).__name__.lower())
        files.set_random(self.random, facts.get("random"))

    def ratio(self) -> float:
        """Return the keep ratio of the next layer."""
        return self.keep

    def rank(self, observation: Observation, filters: int) -> npt.NDArray[np.float64]:
        """Return a number for each filter; the filters with the largest numbers stay.

        Args:
            observation: Observation of the present state.
            filters: Number of the layer's filters.
        """
        if self.criterion is None:
            return self.random.random(filters)
        return criteria.scores(self.criterion, observation, self.env)


class Uniform(Control):
    """The same keep ratio in every layer, filters at random; in the ALF mode, codes."""

    searches = False
    action_modes = ("filters", "alf")


class Random(Control):
    """A random keep ratio in every layer, uniform between 0 and 2 ``keep`` (at most 1)."""

    action_modes = ("filters", "alf")

    def ratio(self) -> float:
        """Draw the keep ratio of the next layer."""
        return float(self.random.uniform(0, min(1.0, 2 * self.keep)))


class L1(Control):
    """The same keep ratio in every layer, filters of the largest L1 norm (Li et al. 2017)."""

    criterion = "l1"
    searches = False


class FPGM(Control):
    """The same keep ratio in every layer, without the filters that others can replace.

    Those are the filters with the smallest summed distance to the layer's filters (He et al. 2019,
    "Filter Pruning via Geometric Median", section 3.3).
    """

    criterion = "fpgm"
    searches = False


class Mixed(Control):
    """A random keep ratio, criterion and duration for each layer: varied records for surrogates.

    The keep ratio is uniform between ``keep`` and 1. With probability 1/2 the filters are chosen at
    random, else by a random one of :data:`MIXED_CRITERIA`. With probability 1/2 the duration is 0,
    else log-uniform between a tenth of ``duration`` and ``duration``.

    Args:
        env: A pruning environment with its own ``Dict`` action and ``observation="features"``.
        seed: Seed of the draws.
        keep: Smallest keep ratio.
        duration: Longest fine-tuning of a step, 0 to 1.
    """

    needs_features = True

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Draw an action; see :meth:`Control.act`."""
        action = super().act(observation, info, deterministic)
        drawn = self.duration * 10 ** self.random.uniform(-1, 0) * (self.random.random() < 0.5)
        return {**action, "duration": np.array([drawn], np.float32)}

    def ratio(self) -> float:
        """Draw the keep ratio of the next layer."""
        return float(self.random.uniform(self.keep, 1))

    def rank(self, observation: Observation, filters: int) -> npt.NDArray[np.float64]:
        """Draw a criterion, or numbers; see :meth:`Control.rank`."""
        at_random = self.random.random(filters)
        if self.random.random() < 0.5:
            return at_random
        criterion = MIXED_CRITERIA[self.random.integers(len(MIXED_CRITERIA))]
        if criterion not in observation:
            raise ValueError("the agent 'mixed' needs observation='features'")
        return np.asarray(observation[criterion])[:filters]


MIXED_CRITERIA = ("l1", "activation", "distance")
"""Entries of the observation by which :class:`Mixed` ranks filters."""
