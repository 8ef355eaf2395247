"""The interface of agents, and what episodic agents have in common."""

from abc import abstractmethod
from typing import Any

import numpy as np

from prune_gym.interface import (
    Action,
    Agent,
    Budget,
    Callback,
    Observation,
    PruningEnvironment,
    pruning_environment,
)

__all__ = [
    "Action",
    "Agent",
    "Budget",
    "Callback",
    "EpisodicAgent",
    "Observation",
    "PruningEnvironment",
    "pruning_environment",
]


class EpisodicAgent(Agent):
    """An agent that learns by playing whole episodes, one decision a layer."""

    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Play whole episodes until the budget is spent (:meth:`Agent.learn`)."""
        callback = callback or Callback()
        env = self.pruning
        seed = self.begin_search()
        while not budget.spent(self.episodes, self.steps, env.search_macs_total):
            observation, _ = self.env.reset(seed=seed)
            seed = None
            self.begin_episode()
            infos: list[dict[str, Any]] = []
            ended = False
            while not ended:
                action, trials = self.decide(observation, callback)
                observation, reward, terminated, truncated, info = self.env.step(action)
                callback.on_trial(float(reward), info)
                duration = float(np.asarray(action["duration"]).item())
                infos.append(info | {"reward": float(reward), "duration": duration})
                self.steps += trials + 1
                ended = terminated or truncated
            self.end_episode(observation, infos, callback)
            callback.on_episode(self.episodes, self.env, infos)
            self.episodes += 1
            callback.on_checkpoint(self)

    def begin_episode(self) -> None:
        """Called after each reset; nothing is done unless a subclass says so."""

    def end_episode(
        self, observation: Observation, infos: list[dict[str, Any]], callback: Callback
    ) -> None:
        """Called after the last step; nothing is done unless a subclass says so.

        Args:
            observation: Of the last state.
            infos: Of the episode's steps, each with its ``reward`` and ``duration``.
            callback: Sees the updates.
        """

    @abstractmethod
    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Learn what there is to learn here, and choose the action to carry out.

        Args:
            observation: Of the present state.
            callback: Sees the trials and updates.

        Returns:
            The action, and how many candidates were tried for it.
        """
