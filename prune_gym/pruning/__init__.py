"""Exact pruning of declared channel spaces."""

from prune_gym.pruning.channel_map import ChannelMap, ChannelPad
from prune_gym.pruning.check import check_spaces
from prune_gym.pruning.cut import dense, masked
from prune_gym.pruning.derive import Derivation, derive
from prune_gym.pruning.geometry import Geometry
from prune_gym.pruning.spaces import ChannelSpace, Masks, Place, cut_spaces, legal_mask
from prune_gym.pruning.verify import SpacesError, verify_spaces

__all__ = [
    "ChannelMap",
    "ChannelPad",
    "ChannelSpace",
    "Derivation",
    "Geometry",
    "Masks",
    "Place",
    "SpacesError",
    "check_spaces",
    "cut_spaces",
    "dense",
    "derive",
    "legal_mask",
    "masked",
    "verify_spaces",
]
