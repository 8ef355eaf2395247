"""Exact network surgery on declared channel spaces."""

from prune_gym.surgery.apply import dense, masked
from prune_gym.surgery.geometry import Geometry
from prune_gym.surgery.layers import ChannelPad
from prune_gym.surgery.spaces import ChannelSpace, Masks, check_spaces, cut_spaces, legal_mask

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
