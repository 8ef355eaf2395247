"""The interface of agents, and the base class of agents that play episodes."""

from abc import abstractmethod

import numpy as np

from prune_gym.interface import (
    Action,
    Agent,
    Budget,
    Callback,
    Info,
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
    "Info",
    "Observation",
    "PruningEnvironment",
    "pruning_environment",
]


class EpisodicAgent(Agent):
    """An agent that learns by playing whole episodes, with one decision a layer."""

    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Play whole episodes until the budget is spent (:meth:`Agent.learn`)."""
        callback = callback or Callback()
        env = self.pruning
        seed = self.begin_search()
        while not budget.spent(self.episodes, self.steps, env.search_macs_total):
            observation, _ = self.env.reset(seed=seed)
            seed = None
            self.begin_episode()
            infos: list[Info] = []
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
        """Called after each reset; does nothing unless a subclass overrides it."""

    def end_episode(self, observation: Observation, infos: list[Info], callback: Callback) -> None:
        """Called after the last step; does nothing unless a subclass overrides it.

        Args:
            observation: Observation of the last state.
            infos: Info of each step, with the step's ``reward`` and ``duration``.
            callback: Callback that follows the updates.
        """

    @abstractmethod
    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Learn from the present state, if the agent does so, and choose the action to execute.

        Args:
            observation: Observation of the present state.
            callback: Callback that follows the trials and updates.

        Returns:
            The action, and the number of candidates tried for it.
        """
