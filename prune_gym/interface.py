"""The interface between agents, environments and runs.

An :class:`Agent` learns in any :class:`PruningEnvironment`: the real environment, the surrogate,
or the toy of :mod:`agents.toy`. A run limits the agent with a :class:`Budget` and follows it with
a :class:`Callback`.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, SupportsFloat, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

Observation = Mapping[str, npt.NDArray[Any]]
"""Arrays by name. Arrays with one entry a filter are padded to the widest layer, n_max."""
Action = dict[str, npt.NDArray[Any]]
"""``mask`` and ``duration``, or in the ALF mode ``sparsity`` and ``duration``."""
Info = dict[str, Any]
"""The info of ``reset`` and ``step``. After a step, ``info["rewards"]`` holds the reward's
components ``"prune"`` and ``"duration"``, from which agents can learn."""
Snapshot = Any
"""A state as a value. Its type is the environment's own; an agent only passes it back."""


class Space(Protocol):
    """A channel space as agents see it (:class:`prune_gym.pruning.ChannelSpace`)."""

    @property
    def name(self) -> str:
        """Name of the space."""

    @property
    def channels(self) -> int:
        """Number of the space's channels in the unpruned network."""


class PruningEnvironment(Protocol):
    """An environment as agents see it: Gymnasium's methods, and those that a search needs.

    Attributes:
        search_macs_total: MACs spent in the environment's lifetime, trials included.
    """

    search_macs_total: int

    @property
    def observation_space(self) -> spaces.Dict:
        """Space of the observations."""

    @property
    def action_space(self) -> spaces.Dict:
        """Space of the actions."""

    @property
    def np_random(self) -> np.random.Generator:
        """The environment's random generator."""

    @property
    def action_mode(self) -> str:
        """``"filters"`` or ``"alf"``."""

    @property
    def visited(self) -> Sequence[Space]:
        """Channel spaces that an episode visits, in order, one a step."""

    @property
    def predicted(self) -> bool:
        """Whether the environment predicts accuracies, so that it has no network to read."""

    @property
    def pays_to_target(self) -> bool:
        """Whether costs below the target earn nothing (``reward="target"``)."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, Info]:
        """Start an episode and return the first observation and its info."""

    def step(self, action: Action) -> tuple[Observation, SupportsFloat, bool, bool, Info]:
        """Execute an action and return observation, reward, terminated, truncated and info."""

    def snapshot(self) -> Snapshot:
        """Return the present state, the random generator's state included."""

    def restore(self, state: Snapshot) -> tuple[Observation, Info]:
        """Return to a snapshot, and return the observation and info of that state."""

    def try_actions(self, actions: Sequence[Action]) -> list[tuple[float, Info]]:
        """Return the reward and info of each action from the present state, and keep the state."""

    def score(self) -> float:
        """Return the score of the present network."""

    def ratio_for_target(self) -> float | None:
        """Return the keep ratio of a uniform cut that just meets the target; None without one."""

    def ratio_for_rest(self) -> float | None:
        """Return the same ratio for the remaining layers, given the episode's steps so far."""


def pruning_environment(env: gym.Env[Any, Any]) -> PruningEnvironment:
    """The pruning environment inside its wrappers.

    Raises:
        ValueError: It lacks a member of :class:`PruningEnvironment`.
    """
    inner = env.unwrapped
    # Looked up on the class, because reading a property such as np_random can change a state.
    there = {*dir(type(inner)), *vars(inner)}
    members = (*PruningEnvironment.__annotations__, *vars(PruningEnvironment))
    missing = [name for name in members if not name.startswith("_") and name not in there]
    if missing:
        raise ValueError(
            f"{type(inner).__name__} is not a pruning environment: it lacks "
            f"{', '.join(missing)}. Use one of prune_gym.environment_ids(), or implement "
            "prune_gym.interface.PruningEnvironment."
        )
    return cast(PruningEnvironment, inner)


@dataclass
class Budget:
    """Limits of a search. The search ends when it reaches the first of them.

    Episodes, steps and MACs count from the start of the search. Those of earlier calls of
    ``learn`` in the same environment, and of a search that was loaded, count too.

    Args:
        episodes: Number of finished episodes.
        steps: Number of steps, tried candidates included.
        search_macs: Limit of the environment's ``search_macs_total``.
        seconds: Wall time in seconds. With this limit, results depend on the machine's speed.

    Raises:
        ValueError: There is no limit, or a limit is not above 0.
    """

    episodes: int | None = None
    steps: int | None = None
    search_macs: int | None = None
    seconds: float | None = None
    _started: float = field(default_factory=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        limits = {k: v for k, v in vars(self).items() if not k.startswith("_") and v is not None}
        if not limits:
            raise ValueError(
                "a budget needs at least one limit: episodes, steps, search_macs or seconds"
            )
        for name, value in limits.items():
            if not value > 0:
                raise ValueError(f"budget: {name}={value} must be above 0")

    def restart_clock(self, spent: float = 0.0) -> None:
        """Restart the wall time, with ``spent`` seconds already used."""
        self._started = time.monotonic() - spent

    def spent(self, episodes: int, steps: int, search_macs: int) -> bool:
        """Return whether a search with these counters has reached a limit."""
        seconds = time.monotonic() - self._started
        limits = (self.episodes, self.steps, self.search_macs, self.seconds)
        spent = zip((episodes, steps, search_macs, seconds), limits, strict=True)
        return any(limit is not None and value >= limit for value, limit in spent)


class Callback:
    """Follows an agent while it learns. The methods do nothing unless a subclass overrides them."""

    def on_trial(self, reward: float, info: Mapping[str, Any]) -> None:
        """Called after each tried candidate and each step."""

    def on_episode(self, number: int, env: gym.Env[Any, Any], infos: list[Info]) -> None:
        """Called after the last step of an episode.

        Args:
            number: Number of the episode, from 0. A loaded search continues its numbers.
            env: Environment in the episode's last state.
            infos: Info of each step, with the step's ``reward`` and ``duration``.
        """

    def on_update(self, metrics: Mapping[str, float]) -> None:
        """Called after an update of the agent, with its metrics by name."""

    def on_status(self, done: float, text: str) -> None:
        """Called during an episode that takes long.

        Args:
            done: Finished share of the episode, 0 to 1.
            text: Text to show next to the progress.
        """

    def on_checkpoint(self, agent: "Agent") -> None:
        """Called between episodes, where ``agent.save`` writes all that learning needs."""


class Agent(ABC):
    """Learns in an environment and acts in it.

    Args:
        env: A pruning environment, wrapped or not, with its own ``Dict`` action. An agent that
            learns on another action form wraps the environment itself.
        seed: Seed of the agent's own random numbers.

    Attributes:
        episodes: Number of finished episodes of the search in ``env``, those before a ``load``
            included.
        steps: Number of the search's steps, tried candidates included.
        Options: Dataclass of the hyperparameters, each with a default; None if the constructor's
            signature lists them.
        action_form: Action form that the agent learns on, a key of
            :data:`prune_gym.wrappers.FORMS`. :meth:`act` always returns the environment's own
            action.
        searches: Whether a second episode can find a better network. In a run with a budget, an
            agent without a search plays one episode and leaves the rest to the final fine-tune.
        vector_env: Whether the algorithm can also learn in a vector environment.
        masks_padding: Whether learning ignores padded bits.
        needs_features: Whether the agent requires ``observation="features"``.
        extra: Optional extra that installs the agent's requirements, or None.
        action_modes: Action modes of the environment that the agent supports.

    Raises:
        ValueError: The environment is not a pruning environment, has another action mode, or an
            action wrapper.
    """

    Options: ClassVar[type[Any] | None] = None
    action_form: ClassVar[str] = "hybrid"
    searches: ClassVar[bool] = True
    vector_env: ClassVar[bool] = False
    masks_padding: ClassVar[bool] = True
    needs_features: ClassVar[bool] = False
    extra: ClassVar[str | None] = None
    action_modes: ClassVar[tuple[str, ...]] = ("filters",)

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0) -> None:
        mode = pruning_environment(env).action_mode
        if mode not in self.action_modes:
            raise ValueError(
                f"the agent {type(self).__name__} works in action_mode="
                f"{' or '.join(map(repr, self.action_modes))}, not in {mode!r}: make the "
                "environment in that mode, or use another agent (`prune-gym list agents`)"
            )
        if not isinstance(env.action_space, spaces.Dict):
            raise ValueError(
                f"the agent {type(self).__name__} needs the environment's own Dict action, not "
                f"{env.action_space}: remove the action wrapper"
            )
        self.env = env
        self.seed = seed
        self.episodes = self.steps = 0
        self._searched: gym.Env[Any, Any] = env

    @property
    def pruning(self) -> PruningEnvironment:
        """The pruning environment inside ``env``."""
        return pruning_environment(self.env)

    def begin_search(self) -> int | None:
        """Start a search, or continue the one in ``env``. :meth:`learn` calls it first.

        If ``env`` was replaced, as after a warm start, the counters restart at 0.

        Returns:
            Seed of the first reset; None if the environment's random numbers continue.
        """
        if self._searched is not self.env:
            self.episodes = self.steps = 0
            self._searched = self.env
        return self.seed if self.episodes == 0 else None

    def continue_search(self, episodes: int, steps: int) -> None:
        """Set the counters of a search in ``env`` that continues. :meth:`load` calls it."""
        self.episodes, self.steps, self._searched = episodes, steps, self.env

    @abstractmethod
    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Learn until the budget is spent. The callback sees every episode.

        After :meth:`load`, and with the environment's ``search_macs_total`` and random generator
        restored, learning continues bit for bit as if it had not been interrupted.
        """

    @abstractmethod
    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """Choose an action.

        Args:
            observation: Observation of the environment.
            info: Info of the environment. The agents of this package do not read it.
            deterministic: Whether to return the most likely action instead of a drawn one.

        Returns:
            ``mask`` and ``duration``, or in the ALF mode ``sparsity`` and ``duration``.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the hyperparameters and everything that learning needs, as safetensors and JSON."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote, ``episodes`` and ``steps`` included.

        Raises:
            WeightsError: A file is missing, damaged, or of another shape.
        """
