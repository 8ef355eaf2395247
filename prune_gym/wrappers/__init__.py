"""Action wrappers for agents that cannot act on a ``Dict``, such as Stable-Baselines3's."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from prune_gym.errors import UnknownNameError
from prune_gym.wrappers.actions import FlatBoxAction, MultiDiscreteAction
from prune_gym.wrappers.base import ActionForm
from prune_gym.wrappers.keep_ratio import KeepRatioAction
from prune_gym.wrappers.masks import ActionMaskObservation

__all__ = [
    "FORMS",
    "ActionForm",
    "ActionMaskObservation",
    "FlatBoxAction",
    "KeepRatioAction",
    "MultiDiscreteAction",
    "adapt",
]


FORMS: dict[str, Callable[..., gym.Env[Any, Any]]] = {
    "hybrid": lambda env: env,
    "flat_box": FlatBoxAction,
    "multi_discrete": MultiDiscreteAction,
    "masked_multi_discrete": lambda env, **arguments: ActionMaskObservation(
        MultiDiscreteAction(env, **arguments)
    ),
    "keep_ratio": KeepRatioAction,
}


def adapt(env: gym.Env[Any, Any], form: str, **arguments: Any) -> gym.Env[Any, Any]:
    """Wrap an environment in an action form.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        form: ``"hybrid"`` (no wrapper), ``"flat_box"`` (:class:`FlatBoxAction`),
            ``"multi_discrete"`` (:class:`MultiDiscreteAction`), ``"masked_multi_discrete"``
            (:class:`ActionMaskObservation` on :class:`MultiDiscreteAction`) or ``"keep_ratio"``
            (:class:`KeepRatioAction`).
        arguments: Arguments of the wrapper.

    Returns:
        The wrapped environment.

    Raises:
        UnknownNameError: There is no such form.
        ValueError: The wrapper refuses the environment or an argument.
    """
    if form not in FORMS:
        raise UnknownNameError("action form", form, FORMS)
    return FORMS[form](env, **arguments)
