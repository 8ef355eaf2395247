"""The state of an episode: a value that steps replace and never change."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from prune_gym.costs import Costs
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace

Kept = dict[str, npt.NDArray[np.int64]]
"""For each space the kept channels' numbers in the unpruned network."""


@dataclass(frozen=True)
class BlockRecord:
    """What a step of the ALF mode made of a convolution.

    Args:
        sparsity: The share of codes that the autoencoder was asked to remove.
        codes: How many are left.
        merged: Whether codes and expansion were multiplied back into one convolution.
        reconstruction_error: Of the filters by the autoencoder, relative to their own size.
        updates: Of the autoencoder.
    """

    sparsity: float
    codes: int
    merged: bool
    reconstruction_error: float
    updates: int


@dataclass(frozen=True)
class StepRecord:
    """What one step did.

    Args:
        space: The space's name.
        mask: The executed mask, shape (channels,).
        batches: Mini-batches of fine-tuning.
        accuracy: Behind the step, 0 to 1.
        costs: Behind the step.
        reward: The step's total.
        block: Of the ALF mode.
    """

    space: str
    mask: npt.NDArray[np.bool_]
    batches: int
    accuracy: float
    costs: Costs
    reward: float
    block: BlockRecord | None = None

    @property
    def count(self) -> int:
        """Filters left, or codes; all of them where the block is one convolution again."""
        if self.block is None:
            return int(np.count_nonzero(self.mask))
        return self.mask.size if self.block.merged else self.block.codes


@dataclass(frozen=True)
class State:
    """Everything that the rest of an episode depends on.

    Args:
        module: The network as it is; never changed in place, so states may share it.
        spaces: Its channel spaces, with present channel counts.
        kept: For each space the kept channels' numbers in the unpruned network.
        position: How many spaces were visited.
        accuracy: On the validation subset.
        costs: On the accelerator.
        activation: Mean activation of the next space's channels; empty after the last.
        search_macs: Nominal MACs on the path since the reset.
        history: The steps so far.
        random: State of the environment's random generator.
    """

    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    kept: Kept
    position: int
    accuracy: float
    costs: Costs
    activation: npt.NDArray[np.float32]
    search_macs: int = 0
    history: tuple[StepRecord, ...] = ()
    random: dict[str, Any] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Channels of each space."""
        return {space.name: space.channels for space in self.spaces}

    def decided(self) -> tuple[int, ...]:
        """What the steps so far left of each visited space, from the first."""
        return tuple(record.count for record in self.history)

    def space(self, name: str) -> ChannelSpace:
        """One of the present spaces by name."""
        return next(space for space in self.spaces if space.name == name)

    def network(self, baseline: Network) -> Network:
        """The present network, described."""
        return replace(baseline, module=self.module, spaces=self.spaces)
