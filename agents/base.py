"""What every agent offers, what it may spend, and how others follow its progress."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Observation = Mapping[str, npt.NDArray]
Action = dict[str, npt.NDArray]


@dataclass
class Budget:
    """What an agent may spend; it ends with whichever limit comes first.

    Episodes, steps and MACs count from the search's beginning: what earlier calls of ``learn``
    spent in the same environment, or a search that was loaded, counts too.

    Args:
        episodes: Finished episodes.
        steps: Steps, tried candidates included.
        search_macs: The environment's ``search_macs_total``.
        seconds: Wall time; results then depend on the machine's speed.
    """

    episodes: int | None = None
    steps: int | None = None
    search_macs: int | None = None
    seconds: float | None = None
    _started: float = field(default_factory=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        limits = {k: v for k, v in vars(self).items() if not k.startswith("_") and v is not None}
        if not limits:
            raise ValueError("a budget needs at least one limit")
        for name, value in limits.items():
            if not value > 0:
                raise ValueError(f"budget: {name}={value} must be above 0")

    def restart_clock(self, spent: float = 0.0) -> None:
        """Let the wall time begin now, some seconds of it spent before."""
        self._started = time.monotonic() - spent

    def spent(self, episodes: int, steps: int, search_macs: int) -> bool:
        """Whether a limit is reached."""
        return (
            (self.episodes is not None and episodes >= self.episodes)
            or (self.steps is not None and steps >= self.steps)
            or (self.search_macs is not None and search_macs >= self.search_macs)
            or (self.seconds is not None and time.monotonic() - self._started >= self.seconds)
        )


class Callback:
    """Follows an agent's learning; the methods do nothing unless a subclass says so."""

    def on_trial(self, reward: float, info: Mapping[str, Any]) -> None:
        """Called for each tried candidate and each step."""

    def on_episode(self, number: int, env: gym.Env, infos: list[dict[str, Any]]) -> None:
        """Called after the last step of an episode.

        Args:
            number: Counts from 0, and goes on where a loaded search had ended.
            env: The environment, in the episode's last state.
            infos: Of the episode's steps, each with its ``reward`` and ``duration``.
        """

    def on_update(self, metrics: Mapping[str, float]) -> None:
        """Called with what an agent's own learning measures."""

    def on_status(self, done: float, text: str) -> None:
        """Called within an episode that takes long.

        Args:
            done: Share of the episode, 0 to 1.
            text: What to show beside the progress.
        """

    def on_checkpoint(self, agent: "Agent") -> None:
        """Called between episodes, where learning can go on from what ``agent.save`` writes."""


class Agent(ABC):
    """Learns in an environment and acts in it.

    Args:
        env: A :class:`prune_gym.envs.PruningEnv`, wrapped or not.
        seed: Of the agent's own randomness.

    Attributes:
        episodes: Finished episodes of the search in ``env``, those before a ``load`` included.
        steps: Its steps, tried candidates included.
        action_form: What it learns on, a name of :data:`prune_gym.wrappers.FORMS`; whatever it
            is, :meth:`act` gives the environment's own action.
        vector_env: Whether its algorithm can learn in a vector environment too.
        masks_padding: Whether padded bits are left out of what it learns from.
        needs_features: Whether it works with ``observation="features"`` only.
        extra: The optional extra that installs what it needs, or None.
        action_modes: The environment's action modes that it works in.

    Raises:
        ValueError: The environment is in another action mode; the message names agents for it.
    """

    action_form: ClassVar[str] = "hybrid"
    vector_env: ClassVar[bool] = False
    masks_padding: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False
    extra: ClassVar[str | None] = None
    action_modes: ClassVar[tuple[str, ...]] = ("filters",)

    def __init__(self, env: gym.Env, seed: int = 0) -> None:
        mode = getattr(env.unwrapped, "action_mode", "filters")
        if mode not in self.action_modes:
            raise ValueError(
                f"the agent {type(self).__name__} works in action_mode="
                f"{' or '.join(map(repr, self.action_modes))}, not in {mode!r}: make the "
                f"environment in that mode, or take one of: {', '.join(agents_for(mode))}"
            )
        self.env = env
        self.seed = seed
        self.episodes = self.steps = 0
        self._searched: gym.Env = env

    def begin_search(self) -> int | None:
        """Start a search, or go on with the one that is under way in ``env``.

        Call it first in :meth:`learn`. Where ``env`` was exchanged, as after a warm start, the
        counters start at 0 again.

        Returns:
            The seed of the first reset; None where the environment's random numbers go on.
        """
        if self._searched is not self.env:
            self.episodes = self.steps = 0
            self._searched = self.env
        return self.seed if self.episodes == 0 else None

    def go_on(self, episodes: int, steps: int) -> None:
        """Take up a search in ``env`` that had come so far; :meth:`load` calls it."""
        self.episodes, self.steps, self._searched = episodes, steps, self.env

    @abstractmethod
    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Learn until the budget is spent; the callback sees every episode.

        Behind :meth:`load`, and with the environment's ``search_macs_total`` and random generator
        put back, it goes on bit for bit as if the search had never been broken.
        """

    @abstractmethod
    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """Choose an action.

        Args:
            observation: From the environment.
            info: From the environment; not needed by the agents of this package.
            deterministic: The likeliest action in place of a drawn one.

        Returns:
            ``mask`` and ``duration``, or in the ALF mode ``sparsity`` and ``duration``.
        """

    def plot(self, folder: Path) -> list[Path]:
        """Draw what was learned, where the agent has something to show.

        Args:
            folder: For the figures.

        Returns:
            The files; here none.
        """
        return []

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what was learned, and the hyperparameters: safetensors and JSON."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote, ``episodes`` and ``steps`` too.

        Raises:
            WeightsError: It is missing, damaged, or of another shape.
        """


def agents_for(mode: str) -> list[str]:
    """This package's agents that work in an action mode."""
    import agents

    return [name for name in agents.names(own=True) if mode in agents.lookup(name).action_modes]


class EpisodicAgent(Agent):
    """An agent that learns by playing whole episodes, one decision a layer."""

    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Play whole episodes until the budget is spent (:meth:`Agent.learn`)."""
        callback = callback or Callback()
        env: Any = self.env.unwrapped
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
