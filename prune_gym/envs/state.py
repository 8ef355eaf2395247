"""The state of an episode: a value that steps replace but never modify."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from prune_gym.costs import Costs
from prune_gym.envs.reward import Reward
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.cut import ChannelMask, kept_slots
from prune_gym.pruning.finished import BlockRecord
from prune_gym.pruning.spaces import Side

KeptChannels = Mapping[str, npt.NDArray[np.int64]]
"""For each space the indices of the kept channels in the unpruned network."""


@dataclass(frozen=True)
class StepRecord:
    """The result of one step.

    Args:
        space: Name of the visited space.
        mask: Executed mask, shape (channels,).
        changed: Whether the rules changed the action.
        batches: Mini-batches of fine-tuning.
        accuracy: Accuracy after the step, 0 to 1.
        images: Number of evaluated validation images.
        costs: Costs after the step.
        reward: Reward with its components.
        macs: Nominal MACs of the step.
        block: Result for the convolution in the ALF mode; None in the filter mode.
    """

    space: str
    mask: npt.NDArray[np.bool_]
    changed: bool
    batches: int
    accuracy: float
    images: int
    costs: Costs
    reward: Reward
    macs: int
    block: BlockRecord | None = None

    @property
    def count(self) -> int:
        """Number of remaining filters or codes; a merged block counts with all of its filters."""
        if self.block is None:
            return int(np.count_nonzero(self.mask))
        return self.mask.size if self.block.merged else self.block.codes


@dataclass(frozen=True)
class State:
    """Everything on which the rest of an episode depends.

    Args:
        module: Present network; it is never modified in place, so states may share it.
        spaces: Channel spaces with their present channel counts.
        kept: Indices of the kept channels in the unpruned network, by space.
        position: Number of visited spaces.
        accuracy: Accuracy on the validation subset, 0 to 1.
        costs: Costs on the accelerator.
        activation: Mean activation of the next space's channels; empty after the last space.
        search_macs: Nominal MACs since the reset.
        history: Records of the steps so far.
        random: State of the environment's random generator; empty except in snapshots.
        token: Identity of the network; caches use it as their key.
        prefix: Token of the state before the last step and name of the space that the step cut, if
            it left the layers before the cut unchanged.
    """

    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    kept: KeptChannels
    position: int
    accuracy: float
    costs: Costs
    activation: npt.NDArray[np.float32]
    search_macs: int = 0
    history: tuple[StepRecord, ...] = ()
    random: Mapping[str, Any] = field(default_factory=dict)
    token: object = field(default_factory=object, compare=False)
    prefix: tuple[object, str] | None = field(default=None, compare=False)

    def counts(self) -> dict[str, int]:
        """The present number of channels of each space."""
        return {space.name: space.channels for space in self.spaces}

    def decided(self) -> tuple[int, ...]:
        """The number of remaining filters (or codes) of each space visited so far."""
        return tuple(record.count for record in self.history)

    def space(self, name: str) -> ChannelSpace:
        """The present space of this name."""
        return next(space for space in self.spaces if space.name == name)

    def kept_slots(self, baseline: Network, layer: str, side: Side, size: int) -> ChannelMask:
        """Slots of an unpruned layer that the present network still has, shape (size,).

        ``size`` is the number of slots that the unpruned layer has on this side.
        """
        return kept_slots(baseline.spaces, masks_of(baseline.spaces, self.kept), layer, side, size)

    def network(self, baseline: Network) -> Network:
        """The present network.

        Args:
            baseline: Unpruned network, from which name and shapes are copied.
        """
        return replace(baseline, module=self.module, spaces=self.spaces)


def masks_of(spaces: Sequence[ChannelSpace], kept: KeptChannels) -> dict[str, ChannelMask]:
    """Masks of the unpruned spaces that keep the given channels."""
    masks = {}
    for space in spaces:
        if space.name in kept:
            masks[space.name] = np.zeros(space.channels, dtype=bool)
            masks[space.name][kept[space.name]] = True
    return masks


@dataclass(frozen=True)
class Build:
    """The network that a step makes, before its evaluation.

    Args:
        space: Visited space before the step.
        module: New network.
        spaces: Channel spaces of the new network.
        kept: Indices of the kept channels in the unpruned network, by space.
        counts: Number of channels (or codes) by space, for the cost model.
        mask: Executed mask of the visited space, shape (channels,).
        batches: Mini-batches of training.
        macs: Nominal MACs of repair and training.
        keeps_prefix: Whether the layers before the visited space are unchanged.
        changed: Whether the rules changed the result.
        block: Result for the convolution in the ALF mode; None in the filter mode.
        token: Identity of the network.
    """

    space: ChannelSpace
    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    kept: KeptChannels
    counts: Mapping[str, int]
    mask: npt.NDArray[np.bool_]
    batches: int
    macs: int
    keeps_prefix: bool
    changed: bool = False
    block: BlockRecord | None = None
    token: object = field(default_factory=object, compare=False)


@dataclass(frozen=True)
class Spent:
    """The training of a network that was made outside the environment.

    Args:
        batches: Mini-batches of training.
        macs: Nominal MACs of making the network.
    """

    batches: int
    macs: int
