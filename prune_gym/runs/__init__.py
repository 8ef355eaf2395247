"""Runs: a search with an agent, its records, and the network that it exports."""

from prune_gym.runs.config import RunConfig
from prune_gym.runs.records import Episode, Report, Setup, Step

__all__ = ["Episode", "Report", "RunConfig", "Setup", "Step"]
