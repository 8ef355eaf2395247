"""Mypy checks here that every environment satisfies the agents' protocol."""

from agents.toy import ToyPruning
from prune_gym.envs import PruningEnv
from prune_gym.interface import PruningEnvironment
from prune_gym.surrogate.env import SurrogateEnv


def real(env: PruningEnv) -> PruningEnvironment:
    """The real environment."""
    return env


def surrogate(env: SurrogateEnv) -> PruningEnvironment:
    """The surrogate."""
    return env


def toy(env: ToyPruning) -> PruningEnvironment:
    """The toy."""
    return env
