"""Agents that learn by Stable-Baselines3, and what lets its algorithms act on filters.

Nothing here imports Stable-Baselines3 before an agent is made. With it at hand,
:class:`agents.sb3.policy.HybridPolicy` is a policy for its PPO and A2C, and
:func:`agents.sb3.models.make_model` makes an algorithm on any of its vector environments.
"""
