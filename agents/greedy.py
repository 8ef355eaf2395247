"""A control that looks one step ahead: the best of a few cuts, layer by layer."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Observation
from agents.start import ratio_for
from prune_gym.pruning import criteria

RATIOS = (0.25, 0.375, 0.5, 0.625, 0.75, 1.0)
SHARES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)


class Greedy(EpisodicAgent):
    """Tries several keep ratios and durations in each layer, and carries out what paid best.

    The candidates are tried from the same state (``try_actions``), and count for the budget. It
    learns nothing: every episode does the same but for the fine-tuning's random numbers.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        seed: Of the environment; the agent draws nothing.
        ratios: Keep ratios to try, each within (0, 1]. None: :data:`SHARES` of the one with which
            the environment's target is met (1 at most), or :data:`RATIOS` without one.
        durations: Durations to try with each of them, 0 to 1.
        criterion: What ranks the filters (:data:`prune_gym.pruning.criteria.CRITERIA`).

    Raises:
        ValueError: A number out of range, an unknown criterion, or one that the observation does
            not show.
    """

    def __init__(
        self,
        env: gym.Env,
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
                    raise ValueError(f"{name}: {value!r} is out of range, needed: 0 to 1")
        criteria.check(criterion, env)
        self.ratios, self.durations = tuple(ratios), tuple(durations)
        self.criterion = criterion

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """The candidate with the largest reward; of equal ones the first."""
        actions = self._candidates(observation)
        best = self._best(actions, callback)
        return best, len(actions)

    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """See :meth:`agents.base.Agent.act`; it tries in the environment, which must be there.

        The observation must be of the environment's present state.
        """
        return self._best(self._candidates(observation), Callback())

    def _candidates(self, observation: Observation) -> list[Action]:
        """One action for each number of filters and duration."""
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
        env: Any = self.env.unwrapped
        results = env.try_actions(actions)
        for reward, info in results:
            callback.on_trial(reward, info)
        rewards = [reward for reward, _ in results]
        return actions[int(np.argmax(rewards))]

    # Files

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: there is nothing but the hyperparameters and counters."""
        options = {
            "ratios": self.ratios,
            "durations": self.durations,
            "criterion": self.criterion,
        }
        files.write_facts(folder, self, "greedy", options=options)

    def load(self, folder: Path) -> None:
        """Read the counters; the hyperparameters were given to the constructor.

        Raises:
            WeightsError: It is missing, damaged, or of another agent.
        """
        files.read_facts(folder, self, "greedy")
