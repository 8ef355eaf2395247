"""What agents, environments and runs know of one another.

An agent (:class:`Agent`) learns in anything that is a :class:`PruningEnvironment`: the real
environment, the surrogate, or the toy of :mod:`agents.toy`. A run follows it through a
:class:`Callback` and ends it by a :class:`Budget`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, SupportsFloat, cast, runtime_checkable

import gymnasium as gym
import numpy as np
import numpy.typing as npt

Observation = Mapping[str, npt.NDArray[Any]]
"""Arrays by name, each padded to the widest layer."""
Action = dict[str, npt.NDArray[Any]]
"""``mask`` and ``duration``, or in the ALF mode ``sparsity`` and ``duration``."""
Info = dict[str, Any]
"""What ``reset`` and ``step`` report; ``info["rewards"]`` holds the components of the reward."""
Snapshot = Any
"""A state as a value; only the environment that made it looks inside."""


class Space(Protocol):
    """A channel space as agents see it (:class:`prune_gym.pruning.ChannelSpace`)."""

    @property
    def name(self) -> str:
        """The space's name."""

    @property
    def channels(self) -> int:
        """The number of its channels in the unpruned network."""


@runtime_checkable
class PruningEnvironment(Protocol):
    """What agents may ask of an environment, beside Gymnasium's own interface.

    Attributes:
        observation_space: The space of the observations.
        action_space: The space of the actions.
        np_random: The environment's random generator.
        search_macs_total: MACs that were spent in the environment's lifetime.
    """

    observation_space: gym.spaces.Space[Any]
    action_space: gym.spaces.Space[Any]
    np_random: np.random.Generator
    search_macs_total: int

    @property
    def action_mode(self) -> str:
        """``"filters"`` or ``"alf"``."""

    @property
    def visited(self) -> Sequence[Space]:
        """The channel spaces that an episode visits, in their order; one a step."""

    @property
    def pays_to_target(self) -> bool:
        """Whether the reward ends at the target (``reward="target"``)."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, Info]:
        """Start an episode: the first observation and its info."""

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, Info]:
        """Carry out an action: observation, reward, terminated, truncated, info."""

    def snapshot(self) -> Snapshot:
        """The present state as a value, the random generator's state included."""

    def restore(self, state: Any) -> tuple[Any, Info]:
        """Return to a snapshot: its observation and info."""

    def try_actions(self, actions: Sequence[Action]) -> list[tuple[float, Info]]:
        """Reward and info of several actions from the present state, which stays as it is."""

    def score(self) -> float:
        """The value of the present network."""

    def ratio_for_target(self) -> float | None:
        """The keep ratio of a uniform cut that meets the target; None without one."""

    def ratio_for_rest(self) -> float | None:
        """The same ratio for the layers to come, after the episode's steps so far."""


def pruning_environment(env: gym.Env[Any, Any]) -> PruningEnvironment:
    """The pruning environment inside an environment.

    Args:
        env: A pruning environment, wrapped or not.

    Returns:
        The innermost environment.

    Raises:
        ValueError: It is not a pruning environment.
    """
    inner: Any = env.unwrapped
    missing = [name for name in _ASKED if not hasattr(type(inner), name)]
    if missing:
        raise ValueError(
            f"{type(inner).__name__} is not a pruning environment: it has no {missing[0]!r}. "
            "Use one of prune_gym.environment_ids(), or offer what "
            "prune_gym.interface.PruningEnvironment lists."
        )
    return cast(PruningEnvironment, inner)


_ASKED = ("reset", "step", "snapshot", "restore", "try_actions", "ratio_for_target")


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
        mode = pruning_environment(env).action_mode
        if mode not in self.action_modes:
            raise ValueError(
                f"the agent {type(self).__name__} works in action_mode="
                f"{' or '.join(map(repr, self.action_modes))}, not in {mode!r}: make the "
                "environment in that mode, or name another agent (`prune-gym list agents`)"
            )
        self.env = env
        self.seed = seed
        self.episodes = self.steps = 0
        self._searched: gym.Env = env

    @property
    def pruning(self) -> PruningEnvironment:
        """The pruning environment inside ``env``."""
        return pruning_environment(self.env)

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
