"""Reinforcement-learning environments for compressing CNNs for embedded hardware.

``import prune_gym`` registers the environments without loading torch; the first environment loads
it::

    import gymnasium as gym, prune_gym

    env = gym.make("PruneResNet20-v0")
"""

from prune_gym.registration import environment_ids, register_environments

__version__ = "0.1.0"
__all__ = ["environment_ids", "register_environments"]

register_environments()
