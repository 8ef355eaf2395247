"""Where an untrained agent starts: at the share of filters that the environment's target needs."""

import math
from dataclasses import replace
from typing import Any, TypeVar

import gymnasium as gym

Options = TypeVar("Options")
DEFAULT_KEEP = 0.5
"""Where no target says another share."""
MARGIN = 0.02
"""An untrained Bernoulli keeps at least this share of the filters, and drops as much."""


def ratio_for(env: gym.Env, default: float = DEFAULT_KEEP) -> float:
    """The one keep ratio with which an environment's target is just met.

    Args:
        env: A pruning environment.
        default: Where no cost is wanted, or the environment knows no targets.
    """
    ask = getattr(env.unwrapped, "ratio_for_target", None)
    ratio = None if ask is None else ask()
    return default if ratio is None else float(ratio)


def with_initial_keep(options: Options, env: gym.Env) -> Options:
    """Hyperparameters whose ``initial_keep`` is a number.

    An agent that starts at half of the filters under a harder target has its last layers cut to
    almost nothing by the environment's clipping, and learns from ruined networks alone.

    Args:
        options: A dataclass; where its ``initial_keep`` is None, it becomes :func:`ratio_for`'s.
        env: The environment that the agent learns in.
    """
    chosen: Any = options
    if getattr(chosen, "initial_keep", DEFAULT_KEEP) is not None:
        return options
    return replace(chosen, initial_keep=_within_margin(ratio_for(env)))


def shift_to_rest(env: gym.Env, keep: float) -> float:
    """What turns the logit of a share of filters into that of the share which is still needed.

    Args:
        env: A pruning environment within an episode.
        keep: The share that a policy starts from, within (0, 1).

    Returns:
        The logit of the ratio with which the layers to come meet the target, less that of
        ``keep``; 0 where no cost is wanted, or the environment knows no targets.
    """
    ask = getattr(env.unwrapped, "ratio_for_rest", None)
    ratio = None if ask is None else ask()
    return 0.0 if ratio is None else _logit(_within_margin(ratio)) - _logit(keep)


def _within_margin(share: float) -> float:
    return min(1 - MARGIN, max(MARGIN, share))


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
