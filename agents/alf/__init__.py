"""ALF for whole networks (Frickenstein et al., DAC 2020)."""

from agents.alf.agent import ALF

__all__ = ["ALF"]
