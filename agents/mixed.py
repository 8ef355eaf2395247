"""A control that draws everything anew for every layer: variety for records and surrogates."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from agents.base import Action, Observation
from agents.controls import Control

CRITERIA = ("l1", "activation", "distance")


class Mixed(Control):
    """For each layer a share, a criterion and a duration of its own.

    The share is uniform between ``keep`` and 1; the filters are ranked by a statistic or, half of
    the time, at random; the duration is 0 half of the time, else log-uniform up to ``duration``.

    Args:
        env: As for :class:`Control`.
        seed: Of the draws.
        keep: Least share of the filters kept.
        duration: Longest fine-tuning of a step.
    """

    needs_features = True

    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """See :meth:`Control.act`."""
        action = super().act(observation, info, deterministic)
        drawn = self.duration * 10 ** self.random.uniform(-1, 0) * (self.random.random() < 0.5)
        return {**action, "duration": np.array([drawn], np.float32)}

    def ratio(self) -> float:
        """See :meth:`Control.ratio`."""
        return float(self.random.uniform(self.keep, 1))

    def rank(self, observation: Observation, filters: int) -> np.ndarray:
        """See :meth:`Control.rank`."""
        at_random = self.random.random(filters)
        if self.random.random() < 0.5:
            return at_random
        criterion = CRITERIA[self.random.integers(len(CRITERIA))]
        if criterion not in observation:
            raise ValueError("the mixed agent needs observation='features'")
        return np.asarray(observation[criterion])[:filters]
