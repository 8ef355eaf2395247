"""A convolution, grouped convolution or dense layer, described by its sizes."""

from dataclasses import dataclass
from typing import NamedTuple

ZEROS_SCALE = 10_000
"""Number of values that ``ifmap_zeros_per_10000`` refers to."""


class Shape(NamedTuple):
    """Sizes that a layer's cost depends on, in the symbols of Chen et al., JSSC 52(1), 2017.

    Two layers with the same shape have the same cost. The shape excludes the layer's name and
    input rows that no output reads.

    Attributes:
        N: Images in the batch.
        G: Groups.
        M: Filters per group.
        C: Input channels per group.
        E: Output rows.
        F: Output columns.
        R: Kernel rows.
        S: Kernel columns.
        U: Stride.
        rows: Input rows that the outputs read, without padding.
        columns: Input columns that the outputs read, without padding.
        zeros: Zero ifmap values per 10,000.
    """

    N: int
    G: int
    M: int
    C: int
    E: int
    F: int
    R: int
    S: int
    U: int
    rows: int
    columns: int
    zeros: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the layer, including those on padding."""
        return self.N * self.G * self.M * self.C * self.E * self.F * self.R * self.S


@dataclass(frozen=True)
class ConvLayer:
    """A convolution or dense layer to map to an accelerator.

    Args:
        name: Name of the layer in reports; it does not affect the cost.
        batch: Images (N).
        in_channels: Input channels, summed over all groups.
        out_channels: Filters, summed over all groups.
        in_height: Input rows (H), without padding.
        in_width: Input columns (W), without padding.
        kernel: Kernel rows and columns (R, S).
        stride: Stride in both directions (U).
        padding: Zero rows and columns on each side.
        groups: Groups; a depthwise layer has ``groups == in_channels``.
        ifmap_zeros_per_10000: Zeros per 10,000 input values; a zero gates its MACs.

    Raises:
        ValueError: If a size is not a positive integer, ``groups`` does not divide the channels,
            or the kernel is larger than the padded input. The message names the field.
    """

    name: str
    batch: int
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    kernel: tuple[int, int]
    stride: int = 1
    padding: int = 0
    groups: int = 1
    ifmap_zeros_per_10000: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, (tuple, list)) or len(self.kernel) != 2:
            raise ValueError(f"{self._where} kernel={self.kernel!r} is not a pair (rows, columns).")
        object.__setattr__(self, "kernel", tuple(self.kernel))
        sizes = ("batch", "in_channels", "out_channels", "in_height", "in_width")
        for field in (*sizes, "stride", "groups"):
            self._check_int(field, getattr(self, field), 1)
        for size in self.kernel:
            self._check_int("kernel", size, 1)
        self._check_int("padding", self.padding, 0)
        self._check_int("ifmap_zeros_per_10000", self.ifmap_zeros_per_10000, 0)
        if self.ifmap_zeros_per_10000 > ZEROS_SCALE:
            raise ValueError(
                f"{self._where} ifmap_zeros_per_10000={self.ifmap_zeros_per_10000} exceeds 10000."
            )
        self._check_groups_and_kernel()

    def _check_groups_and_kernel(self) -> None:
        for field in ("in_channels", "out_channels"):
            if getattr(self, field) % self.groups:
                raise ValueError(
                    f"{self._where} groups={self.groups} does not divide "
                    f"{field}={getattr(self, field)}."
                )
        padded = (self.in_height + 2 * self.padding, self.in_width + 2 * self.padding)
        if self.kernel[0] > padded[0] or self.kernel[1] > padded[1]:
            raise ValueError(
                f"{self._where} kernel={self.kernel} is larger than the padded input {padded}."
            )

    def _check_int(self, field: str, value: object, least: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{self._where} {field}={value!r} must be an integer >= {least}.")

    @property
    def _where(self) -> str:
        return f"Layer {self.name!r}:"

    @classmethod
    def dense(cls, name: str, batch: int, in_features: int, out_features: int) -> "ConvLayer":
        """Describe a dense layer as a 1 x 1 convolution of a 1 x 1 map, one channel a feature."""
        return cls(name, batch, in_features, out_features, 1, 1, kernel=(1, 1))

    @property
    def out_height(self) -> int:
        """Output rows (E)."""
        return (self.in_height + 2 * self.padding - self.kernel[0]) // self.stride + 1

    @property
    def out_width(self) -> int:
        """Output columns (F)."""
        return (self.in_width + 2 * self.padding - self.kernel[1]) // self.stride + 1

    @property
    def weights(self) -> int:
        """Number of weights."""
        return (
            self.out_channels * (self.in_channels // self.groups) * self.kernel[0] * self.kernel[1]
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates, including those on padding."""
        return self.batch * self.weights * self.out_height * self.out_width

    @property
    def shape(self) -> Shape:
        """The sizes that the cost depends on."""
        (r, s), u, pad = self.kernel, self.stride, self.padding
        e, f = self.out_height, self.out_width
        return Shape(
            N=self.batch,
            G=self.groups,
            M=self.out_channels // self.groups,
            C=self.in_channels // self.groups,
            E=e,
            F=f,
            R=r,
            S=s,
            U=u,
            rows=_positions_read(self.in_height, (e - 1) * u + r, pad),
            columns=_positions_read(self.in_width, (f - 1) * u + s, pad),
            zeros=self.ifmap_zeros_per_10000,
        )


def _positions_read(size: int, extent: int, padding: int) -> int:
    """Number of input rows among the ``extent`` padded rows that the outputs read."""
    return max(min(size, extent - padding), 0)
