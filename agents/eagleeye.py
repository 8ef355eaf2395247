"""A control: random widths, repaired but not trained; the most accurate one is kept."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from prune_gym.envs import PruningEnv
from prune_gym.pruning import criteria

Vector = npt.NDArray[np.float64]


class EagleEye(EpisodicAgent):
    """Li et al. 2020, "EagleEye: Fast Sub-net Evaluation for Efficient Neural Network Pruning".

    An episode draws a keep ratio for each layer, uniform between ``least`` and 1, and scales all of
    them so that the network just meets the target (the paper draws until one meets it). Nothing is
    fine-tuned: the environment's repair takes the place of the paper's adaptive batch norm. The run
    keeps the most accurate network on validation images. :meth:`act` follows the ratios with the
    largest summed reward, before the first episode those of a uniform cut.

    Args:
        env: A pruning environment with its own ``Dict`` action and a target for a cost.
        seed: Seed of the draws.
        least: Smallest ratio that is drawn, within (0, 1).
        criterion: Criterion that ranks the filters
            (:data:`prune_gym.pruning.criteria.CRITERIA`).

    Raises:
        ValueError: The environment has no target for a cost, the criterion is unknown, or
            ``least`` is out of range.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        least: float = 0.2,
        criterion: str = "l1",
    ) -> None:
        super().__init__(env, seed)
        if not 0 < least < 1:
            raise ValueError(f"least={least} is not within (0, 1)")
        criteria.check(criterion, env)
        real = env.unwrapped
        if not isinstance(real, PruningEnv) or not real.target.legal():
            raise ValueError(
                "the agent 'eagleeye' draws networks that meet a target: name one for a cost, such "
                "as --target macs=0.5"
            )
        self.least, self.criterion = least, criterion
        self.random = np.random.default_rng(seed)
        ratio = real.ratio_for_target()
        assert ratio is not None
        self.best = np.full(len(real.visited), ratio)
        self._value = -np.inf
        self._present = self.best

    # Learning

    def begin_episode(self) -> None:
        """Draw the ratios of an episode."""
        self._present = self._scaled(self.random.uniform(self.least, 1, len(self.best)))

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Return the action with the layer's drawn ratio; nothing is tried."""
        return self._action(self._present, observation), 0

    def end_episode(self, observation: Observation, infos: list[Info], callback: Callback) -> None:
        """Remember the best ratios."""
        value = float(sum(info["reward"] for info in infos))
        if value > self._value:
            self.best, self._value = self._present, value
        callback.on_update({"value": value, "best": self._value})

    def _scaled(self, ratios: Vector) -> Vector:
        """The ratios times the largest factor, found by bisection, that meets the target."""
        real = self.env.unwrapped
        assert isinstance(real, PruningEnv)
        legal = real.target.legal()

        def meets(factor: float) -> bool:
            wanted = np.minimum(1, factor * ratios)
            pairs = zip(legal, wanted, strict=True)
            counts = tuple(
                next((each for each in own if each >= round(ratio * own[-1])), own[-1])
                for own, ratio in pairs
            )
            return max(real.target.excess(counts).values()) <= 1

        low, high = 0.0, 1 / self.least
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if meets(middle) else (low, middle)
        return np.minimum(1, low * ratios)

    # Acting

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Follow the best ratios; nothing is drawn."""
        return self._action(self.best, observation)

    def _action(self, ratios: Vector, observation: Observation) -> Action:
        position = round(float(observation["progress"][0]) * len(ratios))
        return criteria.action(
            self.criterion, observation, self.env, float(ratios[position]), duration=0.0
        )

    # Files

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: hyperparameters, counters, best ratios and random state."""
        files.write_facts(
            folder,
            self,
            "eagleeye",
            options={"least": self.least, "criterion": self.criterion},
            best=self.best.tolist(),
            value=None if np.isinf(self._value) else self._value,
            random=self.random.bit_generator.state,
        )

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote; the constructor sets the hyperparameters."""
        facts = files.read_facts(folder, self, "eagleeye")
        self.best = files.numbers(folder, facts.get("best"), len(self.best))
        value = facts.get("value")
        self._value = -np.inf if value is None else float(value)
        files.set_random(self.random, facts.get("random"))
