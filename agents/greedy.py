"""A control that looks one step ahead: in each layer it executes the best of several cuts."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from agents.common.keep_ratio import ratio_for
from prune_gym.pruning import criteria

RATIOS = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0)
"""Keep ratios to try without a target."""
SHARES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Keep ratios to try with a target, as multiples of the ratio that meets the target."""


class Greedy(EpisodicAgent):
    """Tries several keep ratios and durations in each layer and executes the best candidate.

    All candidates are tried from the same state (``try_actions``) and count for the budget. The
    agent learns nothing: only the fine-tuning's random numbers differ between episodes.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        seed: Seed of the environment; the agent itself draws nothing.
        ratios: Keep ratios to try, each within (0, 1]. None: :data:`SHARES` times the ratio that
            meets the environment's target, at most 1, or :data:`RATIOS` without a target.
        durations: Durations to try with each keep ratio, 0 to 1.
        criterion: Criterion that ranks the filters
            (:data:`prune_gym.pruning.criteria.CRITERIA`).

    Raises:
        ValueError: A number is out of range, the criterion is unknown, or the observation lacks
            the criterion's entry.
    """

    searches = False

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        ratios: Sequence[float] | None = None,
        durations: Sequence[float] = (0.1,),
        criterion: str = "l1",
    ) -> None:
        super().__init__(env, seed)
        if ratios is None:
            centre = ratio_for(env, 0.0)
            ratios = [min(1.0, share * centre) for share in SHARES] if centre else RATIOS
        for name, values, least in (("ratios", ratios, 1e-9), ("durations", durations, 0.0)):
            if isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise ValueError(f"{name}={values!r} must be a list of numbers, such as [0.25, 1]")
            for value in values:
                if isinstance(value, str | bool) or not least <= value <= 1:
                    raise ValueError(
                        f"{name}: {value!r} is not within [0, 1]; a ratio must be above 0"
                    )
        criteria.check(criterion, env)
        self.ratios, self.durations = tuple(ratios), tuple(durations)
        self.criterion = criterion

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Return the candidate with the largest reward, the first one of equal candidates."""
        actions = self._candidates(observation)
        return self._best(actions, callback), len(actions)

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Try the candidates in ``env``, whose present state the observation must show."""
        return self._best(self._candidates(observation), Callback())

    def _candidates(self, observation: Observation) -> list[Action]:
        """Return one action for each pair of a number of filters and a duration."""
        values = criteria.scores(self.criterion, observation, self.env)
        width = len(observation["action_mask"])
        counts = dict.fromkeys(max(1, round(ratio * len(values))) for ratio in self.ratios)
        return [
            {
                "mask": criteria.keep_best(values, count, width),
                "duration": np.array([duration], np.float32),
            }
            for count, duration in product(counts, self.durations)
        ]

    def _best(self, actions: list[Action], callback: Callback) -> Action:
        results = self.pruning.try_actions(actions)
        for reward, info in results:
            callback.on_trial(reward, info)
        return actions[int(np.argmax([reward for reward, _ in results]))]

    # Files

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: the hyperparameters and the counters."""
        names = ("ratios", "durations", "criterion")
        options = {name: getattr(self, name) for name in names}
        files.write_facts(folder, self, "greedy", options=options)

    def load(self, folder: Path) -> None:
        """Read the counters; the constructor sets the hyperparameters."""
        files.read_facts(folder, self, "greedy")
