"""Agents that solve the pruning environments of :mod:`prune_gym`.

Agents are looked up by name and imported when they are made.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gymnasium as gym

    from agents.base import Agent

# Another package of the index also installs a top-level `agents`; the command line looks for this.
PROJECT = "prune_gym"

_AGENTS = {
    "l2pf": "agents.l2pf:L2PF",
    "random": "agents.controls:Random",
    "uniform": "agents.controls:Uniform",
    "l1": "agents.controls:L1",
    "mixed": "agents.mixed:Mixed",
    "ppo": "agents.sb3.agents:PPO",
    "a2c": "agents.sb3.agents:A2C",
    "maskable_ppo": "agents.sb3.agents:MaskablePPO",
    "sac": "agents.sb3.agents:SAC",
    "td3": "agents.sb3.agents:TD3",
    "ddpg": "agents.sb3.agents:DDPG",
}


def names() -> list[str]:
    """The agents that there are."""
    return sorted(_AGENTS)


def lookup(name: str) -> "type[Agent]":
    """An agent's class.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.

    Raises:
        UnknownNameError: No such agent.
    """
    from prune_gym.errors import UnknownNameError

    module_name, _, class_name = _AGENTS.get(name, name).partition(":")
    try:
        kind: type[Agent] = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError("agent", name, [*names(), "package.module:Class"]) from error
    return kind


def make(name: str, env: "gym.Env", seed: int = 0, **options: Any) -> "Agent":
    """Make an agent.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.
        env: The environment that it learns in.
        seed: Of its own randomness.
        options: Its hyperparameters.

    Returns:
        The agent.

    Raises:
        UnknownNameError: No such agent.
        ValueError: A hyperparameter is unknown or out of range.
    """
    kind = lookup(name)
    try:
        return kind(env, seed=seed, **options)
    except TypeError as error:
        raise ValueError(f"agent {name!r}: {error}") from error
