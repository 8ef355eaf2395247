"""The environments."""

from prune_gym.envs.env import PruningEnv

__all__ = ["PruningEnv"]
