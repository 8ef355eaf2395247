"""Mypy checks here that every environment satisfies the agents' protocol."""

from agents.toy import ToyPruning
from prune_gym.envs import PruningEnv
from prune_gym.interface import PruningEnvironment


def real(env: PruningEnv) -> PruningEnvironment:
    """The environment, with a network or with predicted accuracies."""
    return env


def toy(env: ToyPruning) -> PruningEnvironment:
    """The toy."""
    return env
