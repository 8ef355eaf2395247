"""Exact pruning of declared channel spaces."""

from prune_gym.pruning.cut import dense, masked
from prune_gym.pruning.geometry import Geometry
from prune_gym.pruning.rules import ChannelPad, check_spaces
from prune_gym.pruning.spaces import ChannelSpace, Masks, cut_spaces, legal_mask

__all__ = [
    "ChannelPad",
    "ChannelSpace",
    "Geometry",
    "Masks",
    "check_spaces",
    "cut_spaces",
    "dense",
    "legal_mask",
    "masked",
]
