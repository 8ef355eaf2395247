"""The keep ratio from which an untrained agent starts: the one that the target needs."""

import math
from dataclasses import replace
from typing import Any, TypeVar

import gymnasium as gym

from prune_gym.interface import pruning_environment

Options = TypeVar("Options")
DEFAULT_KEEP = 0.5
"""Keep ratio in an environment without a target."""
MARGIN = 0.02
"""Smallest distance of an untrained Bernoulli's keep ratio from 0 and from 1."""


def ratio_for(env: gym.Env[Any, Any], default: float = DEFAULT_KEEP) -> float:
    """Return the keep ratio of a uniform cut that just meets the environment's target.

    Args:
        env: A pruning environment.
        default: Value to return if the target bounds no cost.
    """
    ratio = pruning_environment(env).ratio_for_target()
    return default if ratio is None else float(ratio)


def with_initial_keep(options: Options, env: gym.Env[Any, Any]) -> Options:
    """Return hyperparameters whose ``initial_keep`` is a number.

    With a hard target, an agent that starts at half of the filters has its last layers cut to
    almost nothing by the environment's clipping, and learns from ruined networks alone.

    Args:
        options: Dataclass of hyperparameters. An ``initial_keep`` of None becomes the ratio of
            :func:`ratio_for`; options without ``initial_keep`` are returned as they are.
        env: Environment in which the agent learns.
    """
    chosen: Any = options
    if getattr(chosen, "initial_keep", DEFAULT_KEEP) is not None:
        return options
    return replace(chosen, initial_keep=_within_margin(ratio_for(env)))


def shift_to_rest(env: gym.Env[Any, Any], keep: float) -> float:
    """Return what must be added to the logit of ``keep`` to reach the ratio that is still needed.

    Args:
        env: A pruning environment during an episode.
        keep: Keep ratio of the untrained policy, within (0, 1).

    Returns:
        Logit of the ratio with which the remaining layers meet the target, minus the logit of
        ``keep``; 0 if the target bounds no cost.
    """
    ratio = pruning_environment(env).ratio_for_rest()
    return 0.0 if ratio is None else _logit(_within_margin(ratio)) - _logit(keep)


def _within_margin(share: float) -> float:
    return min(1 - MARGIN, max(MARGIN, share))


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
