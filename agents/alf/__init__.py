"""ALF as the paper trains it: all convolutions at once, during the training of the task."""

from agents.alf.agent import ALF
from agents.alf.options import WholeOptions

__all__ = ["ALF", "WholeOptions"]
