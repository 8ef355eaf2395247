"""Invalid-action masks, as sb3-contrib and other frameworks use them."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

_ALF = "; in action_mode='alf', which has no filters to choose, use FlatBoxAction"


class ActionMaskObservation(gym.ObservationWrapper[Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Extends the observation's ``action_mask`` to one entry for each choice of the action.

    The environment's own ``action_mask`` has one entry a filter. Algorithms that mask invalid
    actions need one entry a logit: 2n + K entries for ``MultiDiscrete([2] * n + [K])``, in the
    order of the choices. A filter has two valid choices (0 removes, 1 keeps) and padding only 0, so
    that padding does not count in likelihood and entropy; every duration is valid.

    Frameworks read the mask from the observation, or call :meth:`action_masks`, as
    ``sb3_contrib.MaskablePPO`` does.

    Args:
        env: A pruning environment in :class:`MultiDiscreteAction`.

    Raises:
        ValueError: The environment has another action space, or no ``action_mask`` with one entry a
            filter.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
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

    def observation(self, observation: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the observation with the longer mask, shape (2 n_max + durations,)."""
        keep = np.asarray(observation["action_mask"], np.int8)
        bits = np.stack([np.ones_like(keep), keep], axis=1).ravel()
        self._choices = np.concatenate([bits, np.ones(self.durations, np.int8)])
        return {**observation, "action_mask": self._choices}

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Return the mask of the last observation, boolean, shape (2 n_max + durations,).

        Raises:
            gymnasium.error.ResetNeeded: There is no observation yet.
        """
        if not self._choices.size:
            raise gym.error.ResetNeeded("action_masks() needs an observation: call reset() first")
        return self._choices.astype(bool)
