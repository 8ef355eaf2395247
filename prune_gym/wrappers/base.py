"""What the action forms have in common."""

from abc import abstractmethod
from typing import Any, ClassVar

import gymnasium as gym
import numpy.typing as npt
from gymnasium import spaces

Observation = dict[str, npt.NDArray]
Action = dict[str, npt.NDArray]


ENTRIES = {"filters": {"mask", "duration"}, "alf": {"sparsity", "duration"}}
"""What the native action of each mode holds."""


def action_mode(env: gym.Env) -> str:
    """The mode of an environment, by its native action.

    Args:
        env: A pruning environment, not wrapped in another action form.

    Returns:
        ``"filters"`` or ``"alf"``.

    Raises:
        ValueError: Another action space.
    """
    space = env.action_space
    entries = set(space.spaces) if isinstance(space, spaces.Dict) else set()
    for mode, names in ENTRIES.items():
        if entries == names:
            return mode
    raise ValueError(f"needed: a Dict of mask (or sparsity) and duration, not {space}")


class ActionForm(gym.ActionWrapper[Any, npt.NDArray, Any]):
    """A pruning environment whose ``Dict`` action has another form.

    Args:
        env: A pruning environment with its own ``Dict`` action.

    Attributes:
        modes: The action modes whose actions it can form.
        action_mode: That of the environment.
        width: n_max, how many filters an action chooses from; 0 in the ALF mode.

    Raises:
        ValueError: Another action space, or a mode whose actions it cannot form.
    """

    modes: ClassVar[tuple[str, ...]] = ("filters",)

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        name, space = type(self).__name__, env.action_space
        try:
            self.action_mode = action_mode(env)
        except ValueError as error:
            raise ValueError(f"{name} wraps the Dict of mask and duration, not {space}") from error
        if self.action_mode not in self.modes:
            raise ValueError(
                f"{name} chooses filters, but action_mode={self.action_mode!r} takes sparsity and "
                "duration: wrap it in FlatBoxAction, or make it with action_mode='filters'"
            )
        assert isinstance(space, spaces.Dict)
        self.width = space["mask"].shape[0] if self.action_mode == "filters" else 0  # type: ignore[index]
        self._observation: Observation = {}

    @abstractmethod
    def native(self, action: npt.NDArray, observation: Observation) -> Action:
        """The environment's own action.

        Args:
            action: Of this form.
            observation: The environment's own, of the state that the action is for.

        Returns:
            ``mask``, shape (n_max,), or in the ALF mode ``sparsity``, shape (1,); and
            ``duration``, shape (1,).
        """

    def action(self, action: npt.NDArray) -> Action:
        """:meth:`native` of the last observation that ``reset`` or ``step`` returned."""
        return self.native(action, self._observation)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the environment's."""
        self._observation, info = self.env.reset(seed=seed, options=options)
        return self._observation, info

    def step(self, action: npt.NDArray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """As the environment's, with an action of this form."""
        inner: Any = self.env  # takes the native action, not the one of this form
        observation, reward, terminated, truncated, info = inner.step(self.action(action))
        self._observation = observation
        return observation, float(reward), terminated, truncated, info
