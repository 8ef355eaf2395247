"""Agents that solve the pruning environments of :mod:`prune_gym`.

Agents are looked up by name and imported when they are made. Other packages add theirs through
the entry-point group ``prune_gym.agents``.
"""

import importlib
from importlib import metadata, resources
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gymnasium as gym

    from agents.base import Agent

GROUP = "prune_gym.agents"

# Another package of the index also installs a top-level `agents`; the command line looks for this.
PROJECT = "prune_gym"

_AGENTS = {
    "l2pf": "agents.l2pf:L2PF",
    "random": "agents.controls:Random",
    "uniform": "agents.controls:Uniform",
    "l1": "agents.controls:L1",
    "fpgm": "agents.controls:FPGM",
    "greedy": "agents.greedy:Greedy",
    "evolution": "agents.evolution:Evolution",
    "try_and_learn": "agents.try_and_learn:TryAndLearn",
    "amc": "agents.amc:AMC",
    "mixed": "agents.mixed:Mixed",
    "alf": "agents.alf:ALF",
    "ppo": "agents.sb3.agents:PPO",
    "a2c": "agents.sb3.agents:A2C",
    "maskable_ppo": "agents.sb3.agents:MaskablePPO",
    "sac": "agents.sb3.agents:SAC",
    "td3": "agents.sb3.agents:TD3",
    "ddpg": "agents.sb3.agents:DDPG",
}


def names(own: bool = False) -> list[str]:
    """The agents that there are.

    Args:
        own: Only those of this package.
    """
    return sorted(_AGENTS if own else {*_AGENTS, *_others()})


def lookup(name: str) -> "type[Agent]":
    """An agent's class.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.

    Raises:
        UnknownNameError: No such agent.
        PruneGymError: An agent of another package cannot be imported.
        ValueError: It is not a subclass of :class:`agents.base.Agent`.
    """
    from agents.base import Agent
    from prune_gym.errors import PruneGymError, UnknownNameError

    others = _others()
    module_name, _, class_name = _AGENTS.get(name, others.get(name, name)).partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        if name in others:
            raise PruneGymError(
                f"The installed agent {name!r} ({others[name]}) cannot be loaded: {error}"
            ) from error
        if ":" in name:
            raise PruneGymError(
                f"agent {name!r} cannot be loaded: {error}. Modules are looked for in the present "
                "folder and among the installed ones."
            ) from error
        raise UnknownNameError("agent", name, [*names(), "package.module:Class"]) from error
    if not (isinstance(kind, type) and issubclass(kind, Agent)):
        raise ValueError(f"agent {name!r} is not a subclass of agents.base.Agent")
    return kind


def hyperparameters(name: str, env_id: str | None = None) -> dict[str, Any]:
    """What :func:`make` gives an agent that is not told otherwise.

    They stand in ``agents/hyperparameters/NAME.yaml``: an entry ``default``, and entries named by
    environments that change some of it.

    Args:
        name: An agent of this package; of others nothing is known.
        env_id: An environment's id.

    Returns:
        Values by name; empty where there is no file.
    """
    import yaml

    path = resources.files(__name__) / "hyperparameters" / f"{name}.yaml"
    if name not in _AGENTS or not path.is_file():
        return {}
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {**entries["default"], **entries.get(env_id, {})}


def capabilities() -> list[dict[str, str]]:
    """What each agent takes, one row an agent; see :mod:`agents.table`."""
    from agents.table import rows

    return rows()


def make(name: str, env: "gym.Env", seed: int = 0, **options: Any) -> "Agent":
    """Make an agent.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.
        env: The environment that it learns in.
        seed: Of its own randomness.
        options: Its hyperparameters; for those that are not given see :func:`hyperparameters`.

    Returns:
        The agent.

    Raises:
        UnknownNameError: No such agent.
        ValueError: A hyperparameter is unknown or out of range.
    """
    kind = lookup(name)
    defaults = hyperparameters(name, env.spec.id if env.spec else None)
    for option, value in options.items():
        default = defaults.get(option)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number and isinstance(value, str):
            raise ValueError(
                f"agent {name!r}: {option}={value!r} must be a number, as {default} is"
            )
    given = defaults | options
    try:
        return kind(env, seed=seed, **given)
    except TypeError as error:
        listed = ", ".join(f"{option}={value!r}" for option, value in given.items())
        raise ValueError(f"agent {name!r} with {listed or 'no options'}: {error}") from error


def _others() -> dict[str, str]:
    """Agents of other packages; this package's own names come first."""
    found = metadata.entry_points(group=GROUP)
    return {entry.name: entry.value for entry in found if entry.name not in _AGENTS}
