"""Which choices of an action count: sb3-contrib's and others' invalid-action masks."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

_ALF = "; action_mode='alf' has no filters to choose, so wrap it in FlatBoxAction"


class ActionMaskObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """The observation's ``action_mask`` with one entry for each *choice* of the action.

    The environment's own ``action_mask`` has one entry a filter. What masks invalid actions
    wants one a logit: of ``MultiDiscrete([2] * n + [K])`` 2n + K entries, in the order of the
    choices. Of a filter both choices (0 removes, 1 keeps) are open, of padding only 0, so that it
    is no choice and drops out of likelihood and entropy; every duration is open.

    The mask stands in the observation, where frameworks without a method for it look, and behind
    the method :meth:`action_masks`, which ``sb3_contrib.MaskablePPO`` calls.

    Args:
        env: A pruning environment under :class:`MultiDiscreteAction`.

    Raises:
        ValueError: Another action space, or no ``action_mask`` of one entry a filter.
    """

    def __init__(self, env: gym.Env) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        action, shown = env.action_space, env.observation_space
        if not isinstance(action, spaces.MultiDiscrete) or not (action.nvec[:-1] == 2).all():
            raise ValueError(
                f"ActionMaskObservation wraps MultiDiscreteAction, not the action space {action}"
                + (_ALF if "sparsity" in getattr(action, "spaces", ()) else "")
            )
        self.width, self.durations = len(action.nvec) - 1, int(action.nvec[-1])
        entries = dict(shown.spaces) if isinstance(shown, spaces.Dict) else {}
        own = entries.get("action_mask")
        if own is None or own.shape != (self.width,):
            raise ValueError(f"the observation {shown} has no action_mask of shape {(self.width,)}")
        entries["action_mask"] = spaces.MultiBinary(2 * self.width + self.durations)
        self.observation_space = spaces.Dict(entries)
        self._choices = np.zeros(0, np.int8)

    def observation(self, observation: dict[str, npt.NDArray]) -> dict[str, npt.NDArray]:
        """The observation with the longer mask, shape (2 n_max + durations,)."""
        keep = np.asarray(observation["action_mask"], np.int8)
        bits = np.stack([np.ones_like(keep), keep], axis=1).ravel()
        self._choices = np.concatenate([bits, np.ones(self.durations, np.int8)])
        return {**observation, "action_mask": self._choices}

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """The same mask of the last observation, boolean, shape (2 n_max + durations,).

        Raises:
            gymnasium.error.ResetNeeded: There is no observation yet.
        """
        if not self._choices.size:
            raise gym.error.ResetNeeded("action_masks() needs an observation: call reset() first")
        return self._choices.astype(bool)
