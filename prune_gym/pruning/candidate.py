"""A finished network that was made of an unpruned one."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from prune_gym.pruning.spaces import ChannelSpace


@dataclass(frozen=True)
class BlockRecord:
    """The result of ALF for one convolution.

    Args:
        sparsity: Share of codes that the autoencoder was asked to remove.
        codes: Number of codes that remain.
        merged: Whether codes and expansion were multiplied back into one convolution.
        reconstruction_error: Squared error of the autoencoder's filters, relative to their
            squared size.
        updates: Number of updates of the autoencoder.
    """

    sparsity: float
    codes: int
    merged: bool
    reconstruction_error: float
    updates: int


@dataclass(frozen=True)
class Candidate:
    """A finished network that was made of an unpruned one.

    Args:
        module: Network in ``eval`` mode.
        spaces: Its channel spaces.
        masks: For each changed space the channels (or codes) that remain of the unpruned
            network's, boolean, shape (channels,).
        blocks: For each code space the result of ALF.
        changed: Names of the spaces in which rules changed the mask.
    """

    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    blocks: Mapping[str, BlockRecord] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()
