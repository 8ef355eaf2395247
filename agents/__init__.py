"""Agents that solve the pruning environments of :mod:`prune_gym`."""
