"""Layers without parameters that select, reorder and pad channels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ChannelMap(nn.Module):
    """A layer that copies channels: output channel ``i`` is input channel ``source[i]``, or zero.

    It stands for a slice, a shuffle or a padding of channels by number, in a form that can be
    pruned.

    Args:
        in_channels: Input channels.
        source: Input channel of each output channel; -1 for a channel of zeros.
        dim: Dimension that holds the channels.
    """

    source: Tensor

    def __init__(self, in_channels: int, source: Sequence[int], dim: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.dim = dim
        index = torch.tensor(source, dtype=torch.int64)
        self.pads = bool((index < 0).any())
        # The map is structure, not a weight: pruning recomputes it from the kept channels.
        self.register_buffer("source", index, persistent=False)

    @property
    def out_channels(self) -> int:
        """Output channels."""
        return self.source.numel()

    def extra_repr(self) -> str:
        """The numbers of channels, for ``repr``."""
        return f"{self.in_channels}, {self.out_channels}, dim={self.dim}"

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor with ``in_channels`` in dimension ``dim`` to one with ``out_channels``."""
        if not self.pads:
            return x.index_select(self.dim, self.source)
        # Add one zero channel at the end; all -1 entries refer to it.
        behind = x.dim() - 1 - self.dim % x.dim()
        x = nn.functional.pad(x, (0, 0) * behind + (0, 1))
        source = torch.where(self.source < 0, self.in_channels, self.source)
        return x.index_select(self.dim, source)


class ChannelPad(ChannelMap):
    """Parameter-free shortcut that subsamples pixels and pads channels with zeros.

    This is "option A" of He et al. 2016 (CVPR, section 4.2), stored as a channel map so that it can
    be pruned.

    Args:
        in_channels: Input channels.
        out_channels: Output channels; the input channels are in the middle.
        stride: Distance between the kept pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        first = (out_channels - in_channels) // 2
        last = out_channels - in_channels - first
        super().__init__(in_channels, [-1] * first + [*range(in_channels)] + [-1] * last)
        self.pads = True
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H/stride), ceil(W/stride))."""
        return super().forward(x[:, :, :: self.stride, :: self.stride])
