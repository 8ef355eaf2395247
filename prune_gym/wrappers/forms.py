"""Action forms by name."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym

from prune_gym.errors import UnknownNameError
from prune_gym.wrappers.actions import FlatBoxAction, MultiDiscreteAction
from prune_gym.wrappers.keep_ratio import KeepRatioAction
from prune_gym.wrappers.masks import ActionMaskObservation


def _masked(env: gym.Env[Any, Any], **arguments: Any) -> gym.Env[Any, Any]:
    return ActionMaskObservation(MultiDiscreteAction(env, **arguments))


FORMS: dict[str, Callable[..., gym.Env[Any, Any]]] = {
    "hybrid": lambda env: env,
    "flat_box": FlatBoxAction,
    "multi_discrete": MultiDiscreteAction,
    "masked_multi_discrete": _masked,
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
