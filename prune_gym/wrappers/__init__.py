"""Action wrappers for agents that cannot act on a ``Dict``, such as Stable-Baselines3's."""

from prune_gym.wrappers.actions import FlatBoxAction, MultiDiscreteAction
from prune_gym.wrappers.base import ActionForm
from prune_gym.wrappers.forms import FORMS, adapt
from prune_gym.wrappers.keep_ratio import KeepRatioAction
from prune_gym.wrappers.masks import ActionMaskObservation

__all__ = [
    "FORMS",
    "ActionForm",
    "ActionMaskObservation",
    "FlatBoxAction",
    "KeepRatioAction",
    "MultiDiscreteAction",
    "adapt",
]
