"""The rows or the columns of a convolution: how many outputs there are, and what they read."""

from functools import lru_cache
from math import gcd
from typing import NamedTuple


class Axis(NamedTuple):
    """The rows or the columns of a convolution.

    Attributes:
        size: Input positions (rows or columns), without padding.
        taps: Kernel positions.
        stride: Distance of adjacent outputs in the input.
        before: Padding before the first input position.
        after: Padding after the last one.
        dilation: Distance of adjacent kernel positions in the input.
    """

    size: int
    taps: int
    stride: int
    before: int
    after: int
    dilation: int

    @property
    def padded(self) -> int:
        """Input positions, with padding."""
        return self.before + self.size + self.after

    @property
    def extent(self) -> int:
        """Input positions from the kernel's first tap to its last one."""
        return self.dilation * (self.taps - 1) + 1

    @property
    def outputs(self) -> int:
        """Output positions."""
        return (self.padded - self.extent) // self.stride + 1


class Reads(NamedTuple):
    """What the outputs of an axis read.

    Attributes:
        stride: Stride in the form that :func:`positions` needs.
        dilation: Dilation in that form.
        padded: Positions read, with padding.
        stored: Positions read, without padding.
    """

    stride: int
    dilation: int
    padded: int
    stored: int


def positions(outputs: int, taps: int, stride: int, dilation: int) -> int:
    """Count the different positions ``y stride + i dilation`` with y < outputs and i < taps.

    ``stride`` and ``dilation`` have no common divisor. Then (y, i) and (y + dilation, i - stride)
    are the nearest pairs with the same position, and each such pair of pairs saves one read.
    """
    return outputs * taps - max(outputs - dilation, 0) * max(taps - stride, 0)


@lru_cache(maxsize=1 << 12)
def reads(axis: Axis) -> Reads:
    """Count the positions that the outputs read; those that a stride skips are not read."""
    divisor = gcd(axis.stride, axis.dilation)
    stride, dilation = axis.stride // divisor, axis.dilation // divisor
    if stride >= axis.taps or dilation >= axis.outputs:
        # No position is read twice. One form for all such axes gives equal costs one shape.
        stride, dilation = axis.taps, 1
    padded = positions(axis.outputs, axis.taps, stride, dilation)
    last = (axis.outputs - 1) * axis.stride + axis.extent - 1
    outside = _first(axis, axis.before) + _first(axis, last + 1 - axis.before - axis.size)
    return Reads(stride, dilation, padded, padded - outside)


def _first(axis: Axis, limit: int) -> int:
    """Count the positions below ``limit`` that the outputs read; by symmetry also the last ones."""
    outputs = min(axis.outputs, max(-(-limit // axis.stride), 0))
    found = {y * axis.stride + i * axis.dilation for y in range(outputs) for i in range(axis.taps)}
    return sum(position < limit for position in found)
