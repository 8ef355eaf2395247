"""Action forms that agents without hybrid actions take, such as Stable-Baselines3's."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces


def _mask_width(env: gym.Env, wrapper: str) -> int:
    space = env.action_space
    if not isinstance(space, spaces.Dict) or set(space.spaces) != {"mask", "duration"}:
        raise ValueError(f"{wrapper} wraps the Dict of mask and duration, not {space}")
    shape = space["mask"].shape
    assert shape is not None
    return int(shape[0])


class FlatBoxAction(gym.ActionWrapper[Any, npt.NDArray, Any], gym.utils.RecordConstructorArgs):
    """One flat Box within [-1, 1]: a score for each filter, and the duration last.

    A filter stays where its score is above ``threshold``; -1 is no fine-tuning, 1 all of it.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        threshold: Within [-1, 1).

    Raises:
        ValueError: Another action space, or a threshold out of range.
    """

    def __init__(self, env: gym.Env, threshold: float = 0.0) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, threshold=threshold)
        gym.ActionWrapper.__init__(self, env)
        if not -1 <= threshold < 1:
            raise ValueError(f"threshold={threshold} is not within [-1, 1)")
        self.threshold = threshold
        width = _mask_width(env, "FlatBoxAction")
        self.action_space = spaces.Box(-1.0, 1.0, (width + 1,), np.float32)

    def action(self, action: npt.NDArray) -> dict[str, npt.NDArray]:
        """Scores and duration, shape (n_max + 1,), as the environment's action."""
        flat = np.asarray(action, np.float32)
        mask = (flat[:-1] > self.threshold).astype(np.int8)
        return {"mask": mask, "duration": (flat[-1:] + 1) / 2}


class MultiDiscreteAction(
    gym.ActionWrapper[Any, npt.NDArray, Any], gym.utils.RecordConstructorArgs
):
    """A choice of two for each filter, and one of ``durations`` for the fine-tuning.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        durations: How many durations there are, evenly from 0 to 1; at least 2.

    Raises:
        ValueError: Another action space, or too few durations.
    """

    def __init__(self, env: gym.Env, durations: int = 5) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, durations=durations)
        gym.ActionWrapper.__init__(self, env)
        if durations < 2:
            raise ValueError(f"durations={durations} must be at least 2")
        self.durations = durations
        width = _mask_width(env, "MultiDiscreteAction")
        self.action_space = spaces.MultiDiscrete([2] * width + [durations])

    def action(self, action: npt.NDArray) -> dict[str, npt.NDArray]:
        """Bits and the duration's number, shape (n_max + 1,), as the environment's action."""
        flat = np.asarray(action)
        duration = np.array([flat[-1] / (self.durations - 1)], np.float32)
        return {"mask": flat[:-1].astype(np.int8), "duration": duration}
