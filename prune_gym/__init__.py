"""Compressing a CNN for embedded hardware as a reinforcement-learning problem.

``import prune_gym`` registers the environments and loads no torch; that comes with the first
environment::

    import gymnasium as gym, prune_gym

    env = gym.make("PruneResNet20-v0")
"""

from prune_gym.registration import environment_ids, register_environments

__version__ = "0.1.0"
__all__ = ["environment_ids", "register_environments"]

register_environments()
