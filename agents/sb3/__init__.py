"""Agents that learn with Stable-Baselines3, and a policy that lets PPO and A2C act on filters.

Making an agent imports Stable-Baselines3; importing this package does not.
:class:`agents.sb3.policy.HybridPolicy` is a policy for Stable-Baselines3's own PPO and A2C, and
:func:`agents.sb3.models.make_model` makes an algorithm on any of its vector environments.
"""
