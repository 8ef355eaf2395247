"""An action form of two numbers a layer: the keep ratio and the duration."""

from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from prune_gym.envs.numbers import flat_numbers
from prune_gym.errors import shown
from prune_gym.pruning import criteria
from prune_gym.wrappers.base import Action, ActionForm, Observation


class KeepRatioAction(ActionForm, gym.utils.RecordConstructorArgs):
    """The keep ratio of a layer and the duration: a Box within [-1, 1].

    This is the action of AMC (He et al. 2018, section 3.2): the agent chooses how many filters
    stay, a criterion chooses which. -1 keeps a share ``least`` of the filters, 1 keeps all; at
    least one filter stays.

    The criterion ranks the filters by the last observation of ``reset`` or ``step``, so after
    ``env.unwrapped.restore()`` the first action belongs to the state before. ``taylor`` and
    ``obs`` read the present network and add their MACs to ``search_macs_total``.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        criterion: Criterion, one of :data:`prune_gym.pruning.criteria.CRITERIA`.
        least: Keep ratio of -1, within [0, 1).
        duration: Duration of every step, 0 to 1; the action then has one number. None: the second
            number of the action is the duration, from -1 (0) to 1 (1).

    Raises:
        ValueError: The environment has another action space, an argument is out of range, the
            criterion is unknown, or the observation lacks the criterion's entry.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        criterion: str = "l1",
        least: float = 0.1,
        duration: float | None = None,
    ) -> None:
        gym.utils.RecordConstructorArgs.__init__(
            self, criterion=criterion, least=least, duration=duration
        )
        ActionForm.__init__(self, env)
        if not 0 <= least < 1:
            raise ValueError(f"least={least} is not within [0, 1)")
        if duration is not None and not 0 <= duration <= 1:
            raise ValueError(f"duration={duration} is not within [0, 1]")
        criteria.check(criterion, env)
        self.criterion, self.least, self.duration = criterion, least, duration
        self.action_space = spaces.Box(-1.0, 1.0, (2 if duration is None else 1,), np.float32)

    def native(self, action: npt.NDArray[Any], observation: Observation) -> Action:
        """Convert keep ratio and duration.

        Raises:
            ValueError: A number is not within [-1, 1].
        """
        flat = flat_numbers(action, self.action_space.shape).astype(np.float64)
        if not (np.abs(flat) <= 1).all():
            raise ValueError(f"the action {shown(action)} is not within [-1, 1]")
        share = self.least + (1 - self.least) * (flat[0] + 1) / 2
        duration = (flat[1] + 1) / 2 if self.duration is None else self.duration
        return criteria.action(self.criterion, observation, self.env, share, duration)
