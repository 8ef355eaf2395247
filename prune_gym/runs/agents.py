"""Finds agents by name and makes them; the one module of a run that loads :mod:`agents`."""

import inspect
from dataclasses import fields, is_dataclass, replace
from typing import Any

import gymnasium as gym

from prune_gym import networks, registration, trust
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.interface import Agent, pruning_environment
from prune_gym.runs.config import RunConfig

INSTALL = "pip install --force-reinstall . -c constraints.txt"


def check_package() -> None:
    """Check that the import name ``agents`` is this project's.

    Raises:
        PruneGymError: If another installed package has the name.
    """
    try:
        import agents
    except ImportError as error:
        raise PruneGymError(
            "The package 'agents' of this project is not importable. Install again from "
            f"the source folder: {INSTALL}"
        ) from error
    if getattr(agents, "PROJECT", None) != "prune_gym":
        raise PruneGymError(
            f"The import name 'agents' belongs to another package here ({agents.__file__}), "
            "likely openai-agents. Install prune-gym in a virtual environment of its own, or "
            f"uninstall the other package and install again from the source folder: {INSTALL}"
        )


def names() -> list[str]:
    """The names of all agents, those of other installed packages included."""
    import agents

    return agents.names()


def find(name: str) -> type[Agent]:
    """The class of an agent, by one of :func:`names` or as ``"package.module:Class"``.

    Raises:
        UnknownNameError: If there is no such agent.
        PruneGymError: If an agent of another package cannot be imported.
        ValueError: If the class is not an agent.
    """
    check_package()
    import agents

    return agents.lookup(name)


def check_trusted(config: RunConfig, where: str) -> None:
    """Refuse names of code in a configuration that comes from a file.

    Args:
        config: The configuration.
        where: The file, for the error.

    Raises:
        UntrustedError: If it names an agent or a network that the user did not trust.
    """
    check_package()
    trust.check("agent", config.agent, lambda name: name in names(), where)
    networks.check_trusted(config.environment().network, where)


def options_of(name: str) -> list[str]:
    """The names of an agent's hyperparameters."""
    kind = find(name)
    found = list(inspect.signature(kind.__init__).parameters)
    options = getattr(kind, "Options", None)
    if is_dataclass(options):
        found += [field.name for field in fields(options)]
    return [option for option in found if option not in ("self", "env", "seed", "options")]


def completed(config: RunConfig) -> RunConfig:
    """A configuration with all hyperparameters of its agent, and the action mode that it needs.

    A resumed run therefore does not depend on what the defaults are by then. With a budget, an
    agent that does not search plays one episode.

    Raises:
        UnknownNameError: If there is no such agent or hyperparameter.
    """
    import agents

    kind, known = find(config.agent), options_of(config.agent)
    for option in config.agent_options:
        if option not in known:
            raise UnknownNameError("hyperparameter", option, known)
    options = agents.hyperparameters(config.agent) | dict(config.agent_options)
    arguments = dict(config.env_arguments)
    only_alf = kind.action_modes == ("alf",) and config.env_id != registration.ALF
    if only_alf and "action_mode" not in arguments:
        arguments["action_mode"] = "alf"
    changes: dict[str, Any] = {"agent_options": options, "env_arguments": arguments}
    if config.budget is not None and not kind.searches and config.episodes is None:
        changes["episodes"] = 1
    return replace(config, **changes)


def make(config: RunConfig, env: gym.Env) -> Agent:
    """The agent of a run.

    Raises:
        UnknownNameError: If there is no such agent.
        PruneGymError: If it does not work in the environment's action mode.
        ValueError: If a hyperparameter is out of range.
    """
    import agents

    mode = pruning_environment(env).action_mode
    if mode not in find(config.agent).action_modes:
        raise PruneGymError(
            f"the agent {config.agent!r} does not work in action_mode={mode!r}. "
            f"These do: {', '.join(name for name in names() if _works(name, mode))}."
        )
    return agents.make(config.agent, env, seed=config.seed, **config.agent_options)


def _works(name: str, mode: str) -> bool:
    try:
        return mode in find(name).action_modes
    except PruneGymError:
        return False  # an agent of another package may be broken
