"""Base class of the action forms."""

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium as gym
import numpy.typing as npt
from gymnasium import spaces

Observation = dict[str, npt.NDArray[Any]]
Action = dict[str, npt.NDArray[Any]]

ENTRIES = {"filters": {"mask", "duration"}, "alf": {"sparsity", "duration"}}
"""Entries of the environment's own action in each action mode."""


class ActionForm(gym.ActionWrapper[Any, npt.NDArray[Any], Any]):
    """A wrapper that replaces a pruning environment's ``Dict`` action by another form.

    Args:
        env: A pruning environment with its own ``Dict`` action.

    Attributes:
        modes: Action modes that the form supports.
        action_mode: Action mode of the environment.
        width: n_max, the number of bits of a mask; 0 in the ALF mode.

    Raises:
        ValueError: The environment has another action space, or an unsupported action mode.
    """

    modes: ClassVar[tuple[str, ...]] = ("filters",)

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        name, space = type(self).__name__, env.action_space
        entries = set(space.spaces) if isinstance(space, spaces.Dict) else set()
        found = [mode for mode, names in ENTRIES.items() if names == entries]
        if not found:
            raise ValueError(
                f"{name} wraps the Dict of mask and duration (or of sparsity and duration), not "
                f"{space}"
            )
        self.action_mode = found[0]
        if self.action_mode not in self.modes:
            raise ValueError(
                f"{name} chooses filters, but action_mode={self.action_mode!r} takes sparsity and "
                "duration: wrap it in FlatBoxAction, or make it with action_mode='filters'"
            )
        assert isinstance(space, spaces.Dict)
        self.width = space["mask"].shape[0] if self.action_mode == "filters" else 0  # type: ignore[index]
        self._observation: Observation = {}

    @abstractmethod
    def native(self, action: npt.NDArray[Any], observation: Observation) -> Action:
        """Convert an action, given the environment's own observation of the state to act in.

        Returns:
            ``mask``, shape (n_max,), or in the ALF mode ``sparsity``, shape (1,); and
            ``duration``, shape (1,).
        """

    def action(self, action: npt.NDArray[Any]) -> Action:
        """Convert an action, given the last observation of ``reset`` or ``step``."""
        return self.native(action, self._observation)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Reset the environment and remember the observation."""
        self._observation, info = self.env.reset(seed=seed, options=options)
        return self._observation, info

    def step(
        self, action: npt.NDArray[Any]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute an action of this form."""
        inner: Any = self.env  # Gymnasium types a wrapper's env by the wrapper's own action
        observation, reward, terminated, truncated, info = inner.step(self.action(action))
        self._observation = observation
        return observation, float(reward), terminated, truncated, info
