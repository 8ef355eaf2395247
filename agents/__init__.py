"""Agents that learn in the pruning environments of :mod:`prune_gym`.

:func:`make` finds an agent by its name and imports it then. Other packages add agents through the
entry-point group ``prune_gym.agents``.
"""

from dataclasses import asdict
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gymnasium as gym

    from agents.base import Agent

GROUP = "prune_gym.agents"

# Another package on PyPI also installs a top-level `agents`; the command line checks this name.
PROJECT = "prune_gym"

_AGENTS = {
    "l2pf": "agents.l2pf:L2PF",
    "random": "agents.controls:Random",
    "uniform": "agents.controls:Uniform",
    "l1": "agents.controls:L1",
    "fpgm": "agents.controls:FPGM",
    "sensitivity": "agents.sensitivity:Sensitivity",
    "knapsack": "agents.knapsack:Knapsack",
    "eagleeye": "agents.eagleeye:EagleEye",
    "greedy": "agents.greedy:Greedy",
    "evolution": "agents.evolution:Evolution",
    "try_and_learn": "agents.try_and_learn:TryAndLearn",
    "amc": "agents.amc:AMC",
    "mixed": "agents.controls:Mixed",
    "alf": "agents.alf:ALF",
    "ppo": "agents.sb3.agents:PPO",
    "a2c": "agents.sb3.agents:A2C",
    "maskable_ppo": "agents.sb3.agents:MaskablePPO",
    "sac": "agents.sb3.agents:SAC",
    "td3": "agents.sb3.agents:TD3",
    "ddpg": "agents.sb3.agents:DDPG",
}


def names(own: bool = False) -> list[str]:
    """Return the names of the installed agents, sorted.

    Args:
        own: Whether to leave out the agents of other packages.
    """
    return sorted(_AGENTS if own else {*_AGENTS, *_others()})


def lookup(name: str) -> "type[Agent]":
    """Import an agent's class.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.

    Raises:
        UnknownNameError: There is no such agent.
        PruneGymError: The agent of another package cannot be imported.
        ValueError: The class is not a subclass of :class:`agents.base.Agent`.
    """
    from agents.base import Agent
    from prune_gym.errors import PruneGymError, UnknownNameError
    from prune_gym.trust import import_object

    others = _others()
    try:
        kind = import_object(_AGENTS.get(name, others.get(name, name)))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        if name in others:
            raise PruneGymError(
                f"The installed agent {name!r} ({others[name]}) cannot be loaded: {error}"
            ) from error
        if ":" in name:
            raise PruneGymError(
                f"agent {name!r} cannot be loaded: {error}. Its module must be in the current "
                "folder or installed."
            ) from error
        raise UnknownNameError("agent", name, [*names(), "package.module:Class"]) from error
    if not (isinstance(kind, type) and issubclass(kind, Agent)):
        raise ValueError(f"agent {name!r} is not a subclass of agents.base.Agent")
    return kind


def hyperparameters(name: str) -> dict[str, Any]:
    """Return an agent's default hyperparameters, which runs record in full.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.

    Returns:
        Values by name; empty for an agent without a dataclass ``Options``, whose hyperparameters
        are the arguments of its constructor.

    Raises:
        UnknownNameError: There is no such agent.
    """
    options = lookup(name).Options
    return {} if options is None else asdict(options())


def capabilities() -> list[dict[str, str]]:
    """Return what each agent supports, one row an agent; see :mod:`agents.table`."""
    from agents.table import rows

    return rows()


def make(name: str, env: "gym.Env[Any, Any]", seed: int = 0, **options: Any) -> "Agent":
    """Make an agent.

    Args:
        name: One of :func:`names`, or ``"package.module:Class"``.
        env: Environment in which the agent learns.
        seed: Seed of the agent's own random numbers.
        options: Hyperparameters by name; the others have the agent's defaults.

    Returns:
        The agent.

    Raises:
        UnknownNameError: There is no such agent.
        ValueError: A hyperparameter is unknown or out of range.
    """
    kind = lookup(name)
    defaults = hyperparameters(name)
    for option, value in options.items():
        default = defaults.get(option)
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number and isinstance(value, str):
            raise ValueError(
                f"agent {name!r}: {option}={value!r} must be a number, for example {default}"
            )
    try:
        return kind(env, seed=seed, **options)
    except TypeError as error:
        listed = ", ".join(f"{option}={value!r}" for option, value in options.items())
        raise ValueError(f"agent {name!r} with {listed or 'no options'}: {error}") from error


def _others() -> dict[str, str]:
    """Return import paths of other packages' agents; this package's names take precedence."""
    found = metadata.entry_points(group=GROUP)
    return {entry.name: entry.value for entry in found if entry.name not in _AGENTS}
