"""The environments."""

from prune_gym.envs.env import PruningEnv
from prune_gym.envs.state import Spent
from prune_gym.pruning.finished import FinishedNetwork

__all__ = ["FinishedNetwork", "PruningEnv", "Spent"]
