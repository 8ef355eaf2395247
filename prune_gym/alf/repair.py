"""Repair of a block after codes were clipped: refit the expansion."""

import copy
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from prune_gym.alf.block import ALFConv2d
from prune_gym.batches import Images
from prune_gym.pruning.repair import LeastSquares, reestimate_batch_norm
from prune_gym.pruning.rows import layer_inputs


class BlockRepair:
    """Repairs networks with blocks after codes of a block were clipped.

    Args:
        module: The unpruned network, in ``eval`` mode.
        layers: Names of the convolutions that may become blocks.
        images: Unlabelled repair images, normalised, shape (N, C, H, W).
        recovery: ``"lsq"`` (the expansion is refitted), ``"bn"`` (batch norm is re-estimated) or
            ``"none"``.
        macs: MACs of the unpruned network for one image.
    """

    def __init__(
        self, module: nn.Module, layers: Sequence[str], images: Images, recovery: str, macs: int
    ) -> None:
        self.module, self.layers, self.images = module, tuple(layers), images
        self.recovery, self.macs = recovery, macs

    @cached_property
    def least_squares(self) -> LeastSquares:
        """The refit of expansions towards the outputs of the unpruned convolutions."""
        return LeastSquares(self.module, self.layers, self.images)

    def __call__(
        self, module: nn.Module, layer: str, macs: int, inputs: Iterable[Tensor] | None = None
    ) -> int:
        """Repair a network in place after codes of block ``layer`` were clipped.

        Args:
            module: Network with the block, in ``eval`` mode.
            layer: Name of the block.
            macs: MACs of the network for one image.
            inputs: Inputs of the block for the repair images, in batches; None runs the network.

        Returns:
            Nominal MACs of the repair.
        """
        images = len(self.images)
        if self.recovery == "none":
            return 0
        if self.recovery == "bn":
            reestimate_batch_norm(module, self.images)
            return macs * images
        block = module.get_submodule(layer)
        assert isinstance(block, ALFConv2d)
        if inputs is None:
            inputs = layer_inputs(module, block, self.images)
        return self._refit(block, layer, inputs) + (self.macs + macs) * images

    @torch.no_grad()
    def _refit(self, block: ALFConv2d, layer: str, inputs: Iterable[Tensor]) -> int:
        codes = torch.from_numpy(np.flatnonzero(block.alive().numpy()))
        # A separate layer with the expansion of the remaining codes.
        expansion = copy.deepcopy(block.expansion)
        expansion.weight = nn.Parameter(block.expansion_filters().detach())
        inputs = (block.codes(x)[:, codes] for x in inputs)
        spent = self.least_squares.fit(layer, expansion, inputs)
        block.set_expansion(expansion.weight)
        if expansion.bias is not None and block.expansion.bias is not None:
            block.expansion.bias.copy_(expansion.bias)
        return spent
