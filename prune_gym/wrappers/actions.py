"""Every filter by itself: a score for each, or a choice of two for each."""

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from prune_gym.wrappers.base import Action, ActionForm, Observation


class FlatBoxAction(ActionForm, gym.utils.RecordConstructorArgs):
    """One flat Box within [-1, 1]: a score for each filter, and the duration last.

    A filter stays where its score is above ``threshold``; -1 is no fine-tuning, 1 all of it. In the
    ALF mode the Box holds sparsity and duration, -1 for 0 and 1 for 1.

    Args:
        env: A pruning environment with its own ``Dict`` action, of any mode.
        threshold: Within [-1, 1); the ALF mode has no use for it.

    Raises:
        ValueError: Another action space, or a threshold out of range.
    """

    modes = ("filters", "alf")

    def __init__(self, env: gym.Env, threshold: float = 0.0) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, threshold=threshold)
        ActionForm.__init__(self, env)
        if not -1 <= threshold < 1:
            raise ValueError(f"threshold={threshold} is not within [-1, 1)")
        self.threshold = threshold
        numbers = self.width or 1
        self.action_space = spaces.Box(-1.0, 1.0, (numbers + 1,), np.float32)

    def native(self, action: npt.NDArray, observation: Observation) -> Action:
        """Scores (or sparsity) and duration, shape (n_max + 1,) or (2,), as the env's action."""
        flat = np.asarray(action, np.float32)
        duration = (flat[-1:] + 1) / 2
        if self.action_mode == "alf":
            return {"sparsity": (flat[:1] + 1) / 2, "duration": duration}
        return {"mask": (flat[:-1] > self.threshold).astype(np.int8), "duration": duration}


class MultiDiscreteAction(ActionForm, gym.utils.RecordConstructorArgs):
    """A choice of two for each filter, and one of ``durations`` for the fine-tuning.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        durations: How many durations there are, evenly from 0 to 1; at least 2.

    Raises:
        ValueError: Another action space, or too few durations.
    """

    def __init__(self, env: gym.Env, durations: int = 5) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, durations=durations)
        ActionForm.__init__(self, env)
        if durations < 2:
            raise ValueError(f"durations={durations} must be at least 2")
        self.durations = durations
        self.action_space = spaces.MultiDiscrete([2] * self.width + [durations])

    def native(self, action: npt.NDArray, observation: Observation) -> Action:
        """Bits and the duration's number, shape (n_max + 1,), as the environment's action."""
        flat = np.asarray(action)
        duration = np.array([flat[-1] / (self.durations - 1)], np.float32)
        return {"mask": flat[:-1].astype(np.int8), "duration": duration}
