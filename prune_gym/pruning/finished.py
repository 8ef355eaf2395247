"""A finished network that was made from an unpruned one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from prune_gym.jsonfile import Amount, Count, Share
from prune_gym.pruning.spaces import ChannelSpace


@dataclass(frozen=True)
class BlockRecord:
    """The result of ALF for one convolution.

    Args:
        sparsity: Requested share of codes to remove.
        codes: Number of codes that remain.
        merged: Whether codes and expansion were multiplied back into one convolution.
        reconstruction_error: Squared error of the autoencoder's filters, relative to their
            squared norm.
        updates: Number of updates of the autoencoder.
    """

    sparsity: Share
    codes: Count
    merged: bool
    reconstruction_error: Amount
    updates: Count


@dataclass(frozen=True)
class FinishedNetwork:
    """A finished network that was made from an unpruned one.

    Args:
        module: Network in ``eval`` mode.
        spaces: Channel spaces of the network.
        masks: Remaining channels (or codes) of the unpruned network, by changed space; boolean,
            shape (channels,).
        blocks: Result of ALF, by code space.
        changed: Names of the spaces in which the rules changed the mask.
    """

    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    blocks: Mapping[str, BlockRecord] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
