"""What the action forms have in common."""

from abc import abstractmethod
from typing import Any

import gymnasium as gym
import numpy.typing as npt
from gymnasium import spaces

Observation = dict[str, npt.NDArray]
Action = dict[str, npt.NDArray]


class ActionForm(gym.ActionWrapper[Any, npt.NDArray, Any]):
    """A pruning environment whose hybrid ``Dict`` action has another form.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.

    Raises:
        ValueError: Another action space.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, spaces.Dict) or set(space.spaces) != {"mask", "duration"}:
            raise ValueError(
                f"{type(self).__name__} wraps the Dict of mask and duration, not {space}"
            )
        shape = space["mask"].shape
        assert shape is not None
        self.width = int(shape[0])
        self._observation: Observation = {}

    @abstractmethod
    def native(self, action: npt.NDArray, observation: Observation) -> Action:
        """The environment's own action.

        Args:
            action: Of this form.
            observation: The environment's own, of the state that the action is for.

        Returns:
            ``mask``, shape (n_max,), and ``duration``, shape (1,).
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
