"""The toy environment, by its old address."""

from agents.toy import BEST_DURATION, WIDTH, ToyPruning

__all__ = ["BEST_DURATION", "WIDTH", "ToyPruning"]
