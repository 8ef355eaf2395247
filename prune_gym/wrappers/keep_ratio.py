"""A whole layer by two numbers: how much of it stays, and how long it is fine-tuned."""

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from prune_gym.pruning import criteria
from prune_gym.wrappers.base import Action, ActionForm, Observation


class KeepRatioAction(ActionForm, gym.utils.RecordConstructorArgs):
    """The share of a layer's filters that stay, and the duration: a Box within [-1, 1].

    The form of AMC (He et al. 2018, section 3.2): the agent says how many, a criterion says
    which. -1 keeps ``least`` of the filters, 1 all; of the rounded number at least one stays.

    The filters are ranked by the last observation that ``reset`` or ``step`` returned, so after
    ``env.unwrapped.restore()`` the first action belongs to the state before it. ``taylor`` reads
    the present network, and adds the gradients' MACs to ``search_macs_total``.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        criterion: One of :data:`prune_gym.pruning.criteria.CRITERIA`.
        least: Share that -1 keeps, within [0, 1).
        duration: None, and the second number of the action is the duration, from -1 (none) to 1
            (all); or the duration of every step, 0 to 1, and the action has one number.

    Raises:
        ValueError: Another action space, an argument out of range, an unknown criterion, or one
            that the observation does not show.
    """

    def __init__(
        self,
        env: gym.Env,
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

    def native(self, action: npt.NDArray, observation: Observation) -> Action:
        """Share and duration as the environment's action.

        Raises:
            ValueError: A number that is not within [-1, 1].
        """
        flat = np.asarray(action, np.float64)
        if not (np.abs(flat) <= 1).all():
            raise ValueError(f"the action {action} is not within [-1, 1]")
        values = criteria.scores(self.criterion, observation, self.env)
        share = self.least + (1 - self.least) * (flat[0] + 1) / 2
        mask = criteria.keep_best(values, max(1, round(share * len(values))), self.width)
        duration = (flat[1] + 1) / 2 if self.duration is None else self.duration
        return {"mask": mask, "duration": np.array([duration], np.float32)}
