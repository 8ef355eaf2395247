"""Base of the controls that compute the width of every layer before the first step."""

from abc import abstractmethod
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from agents.common import checks
from prune_gym.envs import PruningEnv
from prune_gym.envs.sensitivity import Sensitivities
from prune_gym.errors import WeightsError
from prune_gym.pruning import criteria
from prune_gym.registration import real_environment

Counts = tuple[int, ...]
"""Channels of the visited spaces, in the order of the visits."""


class Allocation(EpisodicAgent):
    """Keeps a computed number of filters in each layer, those of the largest scores.

    Args:
        env: A pruning environment with its own ``Dict`` action, a network and a target for a cost.
        seed: Seed of the environment; the agent itself draws nothing.
        criterion: Criterion that ranks the filters
            (:data:`prune_gym.pruning.criteria.CRITERIA`).
        duration: Duration of each step's fine-tuning, 0 to 1.

    Raises:
        ValueError: The environment has no network or no target for a cost, the criterion is
            unknown, or the duration is out of range.
    """

    searches = False

    def __init__(
        self,
        env: gym.Env[Any, Any],
        seed: int = 0,
        criterion: str = "l1",
        duration: float = 0.0,
    ) -> None:
        super().__init__(env, seed)
        criteria.check(criterion, env)
        self.criterion, self.duration = criterion, duration
        checks.share(self, "duration")
        self.counts: Counts = ()
        self._counted = env
        self._check()

    def _check(self) -> None:
        real, name = self.env.unwrapped, type(self).__name__.lower()
        if not isinstance(real, PruningEnv) or real.predicted:
            raise ValueError(
                f"the agent {name!r} measures the sensitivities of a network, which "
                f"{type(real).__name__} does not have: use the real environment"
            )
        if not real.target.legal():
            raise ValueError(
                f"the agent {name!r} distributes what a target allows: name one for a cost, such "
                "as --target macs=0.5"
            )

    @property
    def _real(self) -> PruningEnv:
        return real_environment(self.env)

    @abstractmethod
    def allocate(self, losses: "Losses") -> Counts:
        """Compute the number of channels of each visited space.

        Args:
            losses: The sensitivities by counts, and the costs of counts.
        """

    def begin_episode(self) -> None:
        """Compute the widths before the first episode in ``env``; see :meth:`allocate`."""
        if not self.counts or self._counted is not self.env:
            self._counted = self.env
            self.counts = self.allocate(Losses(self._real, self._real.sensitivities()))

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Return the action of :meth:`act`; nothing is tried."""
        return self.act(observation), 0

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Keep the computed number of filters."""
        self.begin_episode()
        position = round(float(observation["progress"][0]) * len(self.counts))
        values = criteria.scores(self.criterion, observation, self.env)
        width = len(observation["action_mask"])
        mask = criteria.keep_best(values, self.counts[position], width)
        return {"mask": mask, "duration": np.array([self.duration], np.float32)}

    def save(self, folder: Path) -> None:
        """Write ``policy.json``: the hyperparameters, the counters and the computed widths."""
        options = {"criterion": self.criterion, "duration": self.duration}
        counts = list(self.counts)
        files.write_facts(folder, self, type(self).__name__.lower(), options=options, counts=counts)

    def load(self, folder: Path) -> None:
        """Read the counters and the widths; the constructor sets the hyperparameters."""
        facts = files.read_facts(folder, self, type(self).__name__.lower())
        if facts.get("counts"):
            found = files.numbers(folder, facts["counts"], len(self._real.visited))
            legal = self._real.target.legal()
            if not all(count in own for count, own in zip(found, legal, strict=True)):
                raise WeightsError(
                    f"The policy in {str(folder)!r} has widths that the environment does not "
                    f"allow: {found.tolist()}. It is of another network, or was edited."
                )
            self.counts, self._counted = tuple(int(count) for count in found), self.env


def with_count(counts: Counts, place: int, count: int) -> Counts:
    """The counts with another one at a place."""
    return (*counts[:place], count, *counts[place + 1 :])


class Losses:
    """What an allocation loses and costs: its sensitivities, and its excess over the target.

    Args:
        env: The environment.
        sensitivities: Its sensitivities.
    """

    def __init__(self, env: PruningEnv, sensitivities: Sensitivities) -> None:
        self.target = env.target
        self.legal = [list(counts) for counts in env.target.legal()]
        self.table = [
            {count: sensitivities.of(space.name, count) for count in counts}
            for space, counts in zip(env.visited, self.legal, strict=True)
        ]

    def loss(self, counts: Counts) -> float:
        """The sum of the spaces' divergences, in nats."""
        return sum(table[count] for table, count in zip(self.table, counts, strict=True))

    def excess(self, counts: Counts) -> float:
        """The largest wanted cost relative to its limit; the target allows at most 1."""
        return max(self.target.excess(counts).values())

    def meets(self, counts: Counts) -> bool:
        """Whether a network with these counts meets the target."""
        return self.excess(counts) <= 1

    def below(self, threshold: float) -> Counts:
        """The least count of each space whose divergence is at most the threshold."""
        return tuple(
            next(count for count in counts if table[count] <= threshold)
            for counts, table in zip(self.legal, self.table, strict=True)
        )

    def filled(self, counts: Counts) -> Counts:
        """Counts that meet the target, widened by what it still allows.

        The space whose next channel saves most divergence is widened first.
        """
        while True:
            wider = [
                trial
                for place, legal in enumerate(self.legal)
                for more in [next((each for each in legal if each > counts[place]), None)]
                if more is not None and self.meets(trial := with_count(counts, place, more))
            ]
            if not wider:
                return counts
            counts = min(wider, key=self.loss)
