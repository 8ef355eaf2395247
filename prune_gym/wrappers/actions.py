"""Action forms that decide on every filter: by a score, or by a choice of two."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from prune_gym.envs.numbers import flat_numbers
from prune_gym.wrappers.base import Action, ActionForm, Observation


class FlatBoxAction(ActionForm, gym.utils.RecordConstructorArgs):
    """One flat Box within [-1, 1]: a score for each filter, and the duration last.

    A filter stays if its score is above ``threshold``. The last number is the duration, from -1
    (no fine-tuning) to 1 (duration 1). In the ALF mode the Box holds sparsity and duration, each
    from -1 (0) to 1 (1).

    Args:
        env: A pruning environment with its own ``Dict`` action, in any action mode.
        threshold: Threshold of the scores, within [-1, 1); not used in the ALF mode.

    Raises:
        ValueError: The environment has another action space, or the threshold is out of range.
    """

    modes = ("filters", "alf")

    def __init__(self, env: gym.Env[Any, Any], threshold: float = 0.0) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, threshold=threshold)
        ActionForm.__init__(self, env)
        if not -1 <= threshold < 1:
            raise ValueError(f"threshold={threshold} is not within [-1, 1)")
        self.threshold = threshold
        numbers = self.width or 1
        self.action_space = spaces.Box(-1.0, 1.0, (numbers + 1,), np.float32)

    def native(self, action: npt.NDArray[Any], observation: Observation) -> Action:
        """Convert scores (or sparsity) and duration, shape (n_max + 1,) or (2,)."""
        flat = flat_numbers(action, self.action_space.shape).astype(np.float32)
        duration = (flat[-1:] + 1) / 2
        if self.action_mode == "alf":
            return {"sparsity": (flat[:1] + 1) / 2, "duration": duration}
        return {"mask": (flat[:-1] > self.threshold).astype(np.int8), "duration": duration}


class MultiDiscreteAction(ActionForm, gym.utils.RecordConstructorArgs):
    """A choice of two for each filter, and one of ``durations`` for the fine-tuning.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        durations: Number of durations, evenly spaced from 0 to 1; at least 2.

    Raises:
        ValueError: The environment has another action space, or there are too few durations.
    """

    def __init__(self, env: gym.Env[Any, Any], durations: int = 5) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, durations=durations)
        ActionForm.__init__(self, env)
        if durations < 2:
            raise ValueError(f"durations={durations} must be at least 2")
        self.durations = durations
        self.action_space = spaces.MultiDiscrete([2] * self.width + [durations])

    def native(self, action: npt.NDArray[Any], observation: Observation) -> Action:
        """Convert bits and the duration's number, shape (n_max + 1,)."""
        flat = flat_numbers(action, self.action_space.shape)
        duration = np.array([flat[-1] / (self.durations - 1)], np.float32)
        return {"mask": flat[:-1].astype(np.int8), "duration": duration}
