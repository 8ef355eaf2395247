"""One function that gives each agent the form of action that it needs."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from prune_gym.errors import UnknownNameError
from prune_gym.wrappers.actions import FlatBoxAction, MultiDiscreteAction
from prune_gym.wrappers.keep_ratio import KeepRatioAction
from prune_gym.wrappers.masks import ActionMaskObservation


def _masked(env: gym.Env, **arguments: Any) -> gym.Env:
    return ActionMaskObservation(MultiDiscreteAction(env, **arguments))


FORMS: dict[str, Callable[..., gym.Env]] = {
    "hybrid": lambda env: env,
    "flat_box": FlatBoxAction,
    "multi_discrete": MultiDiscreteAction,
    "masked_multi_discrete": _masked,
    "keep_ratio": KeepRatioAction,
}


def adapt(env: gym.Env, form: str, **arguments: Any) -> gym.Env:
    """An environment with the form of action that an agent takes.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        form: ``"hybrid"`` (as it is), ``"flat_box"`` (:class:`FlatBoxAction`),
            ``"multi_discrete"`` (:class:`MultiDiscreteAction`), ``"masked_multi_discrete"``
            (that under :class:`ActionMaskObservation`) or ``"keep_ratio"``
            (:class:`KeepRatioAction`).
        arguments: The wrapper's own.

    Returns:
        The wrapped environment.

    Raises:
        UnknownNameError: No such form.
        ValueError: The wrapper refuses the environment or an argument.
    """
    if form not in FORMS:
        raise UnknownNameError("action form", form, FORMS)
    return FORMS[form](env, **arguments)
