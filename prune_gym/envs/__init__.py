"""The environments."""

from prune_gym.envs.pruning import PruningEnv

__all__ = ["PruningEnv"]
