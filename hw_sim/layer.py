"""A convolution, dense layer or matrix product, described by its sizes."""

from dataclasses import dataclass, field
from typing import NamedTuple

from hw_sim.axis import Axis, reads

ZEROS_SCALE = 10_000
"""Number of values that ``ifmap_zeros_per_10000`` refers to."""

Pair = tuple[int, int]
"""A value for the rows and one for the columns."""


class Shape(NamedTuple):
    """Sizes that a layer's cost depends on, in the symbols of Chen et al., JSSC 52(1), 2017.

    Two layers with the same shape have the same cost. The shape excludes the layer's name and
    input rows and columns that no output reads: ``a`` consecutive output rows read
    ``a R - max(a - D, 0) max(R - U, 0)`` rows (:func:`hw_sim.axis.positions`).

    Attributes:
        N: Images in the batch.
        G: Groups.
        M: Filters per group.
        C: Input channels per group.
        E: Output rows.
        F: Output columns.
        R: Kernel rows.
        S: Kernel columns.
        U: Stride of the rows. It is at most R, since a larger stride skips rows; stride and
            dilation are divided by their greatest common divisor.
        D: Dilation of the rows; 1 if no two output rows read a common row.
        W: Columns that the outputs of a row read, padding included.
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
    D: int
    W: int
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

    A pair has a value for the rows and one for the columns; an integer means both. Other layers
    are expressed as convolutions: see :meth:`dense`, :meth:`matmul` and :meth:`transposed`. A
    one-dimensional convolution has ``in_width=1`` and a kernel of one column.

    Args:
        name: Name of the layer in reports; it does not affect the cost.
        batch: Images (N).
        in_channels: Input channels, summed over all groups.
        out_channels: Filters, summed over all groups.
        in_height: Input rows (H), without padding.
        in_width: Input columns (W), without padding.
        kernel: Kernel rows and columns (R, S).
        stride: Stride (U); stored as a pair.
        padding: Zero rows and columns on each side: an integer, a pair, or a pair of pairs
            ``((top, bottom), (left, right))``, which is how it is stored.
        groups: Groups; a depthwise layer has ``groups == in_channels``.
        ifmap_zeros_per_10000: Zeros per 10,000 input values; a zero gates its MACs.
        dilation: Distance of the kernel's rows and columns in the input; stored as a pair.

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
    kernel: Pair
    stride: int | Pair = 1
    padding: int | Pair | tuple[Pair, Pair] = 0
    groups: int = 1
    ifmap_zeros_per_10000: int = 0
    dilation: int | Pair = 1
    _axes: tuple[Axis, Axis] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, (tuple, list)):
            raise ValueError(f"{self._where} kernel={self.kernel!r} is not a pair (rows, columns).")
        for name in ("batch", "in_channels", "out_channels", "in_height", "in_width", "groups"):
            _check_int(self.name, name, getattr(self, name), 1)
        pairs = {name: self._pair(name, 1) for name in ("kernel", "stride", "dilation")}
        sides = self._sides()
        for name, value in {**pairs, "padding": sides}.items():
            object.__setattr__(self, name, value)
        (r, s), (u, v), (d, b) = pairs.values()
        rows = Axis(self.in_height, r, u, *sides[0], d)
        object.__setattr__(self, "_axes", (rows, Axis(self.in_width, s, v, *sides[1], b)))
        _check_int(self.name, "ifmap_zeros_per_10000", self.ifmap_zeros_per_10000, 0)
        if self.ifmap_zeros_per_10000 > ZEROS_SCALE:
            raise ValueError(
                f"{self._where} ifmap_zeros_per_10000={self.ifmap_zeros_per_10000} exceeds 10000."
            )
        self._check_groups_and_kernel()

    def _check_groups_and_kernel(self) -> None:
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                raise ValueError(
                    f"{self._where} groups={self.groups} does not divide "
                    f"{name}={getattr(self, name)}."
                )
        padded = tuple(axis.padded for axis in self._axes)
        if any(axis.extent > axis.padded for axis in self._axes):
            dilated = "" if self.dilation == (1, 1) else f" with dilation={self.dilation}"
            raise ValueError(
                f"{self._where} kernel={self.kernel}{dilated} is larger than the padded input "
                f"{padded}."
            )

    def _pair(self, name: str, least: int) -> Pair:
        """Return a field's value as a pair of integers of at least ``least``."""
        value = getattr(self, name)
        values = value if isinstance(value, (tuple, list)) else (value, value)
        if len(values) != 2:
            raise ValueError(f"{self._where} {name}={value!r} is not a pair (rows, columns).")
        for size in values:
            _check_int(self.name, name, size, least)
        return values[0], values[1]

    def _sides(self) -> tuple[Pair, Pair]:
        """Return the padding as ``((top, bottom), (left, right))``."""
        value = self.padding
        if not isinstance(value, (tuple, list)) or not any(
            isinstance(side, (tuple, list)) for side in value
        ):
            rows, columns = self._pair("padding", 0)
            return (rows, rows), (columns, columns)
        sides = [side if isinstance(side, (tuple, list)) else (side, side) for side in value]
        if [len(side) for side in sides] != [2, 2]:
            raise ValueError(
                f"{self._where} padding={value!r} is not a number, a pair (rows, columns) or "
                "((top, bottom), (left, right))."
            )
        for size in (*sides[0], *sides[1]):
            _check_int(self.name, "padding", size, 0)
        return (sides[0][0], sides[0][1]), (sides[1][0], sides[1][1])

    @property
    def _where(self) -> str:
        return f"Layer {self.name!r}:"

    @classmethod
    def dense(cls, name: str, batch: int, in_features: int, out_features: int) -> "ConvLayer":
        """Describe a dense layer as a 1 x 1 convolution of a 1 x 1 map, one channel a feature."""
        return cls(name, batch, in_features, out_features, 1, 1, kernel=(1, 1))

    @classmethod
    def matmul(cls, name: str, batch: int, rows: int, inner: int, columns: int) -> "ConvLayer":
        """Describe ``batch`` products of a rows x inner and an inner x columns matrix.

        Each product is a group of a 1 x 1 convolution: the first matrix is a map of ``rows`` x 1
        pixels with ``inner`` channels, the second one holds ``columns`` filters. Every product has
        filters of its own, so the layer has one image and ``batch`` groups, and its ``weights``
        are the words of all second matrices. For the two products of attention, ``batch`` is
        images x heads; for weights that all images share, describe the images as more rows.

        Args:
            name: Name of the layer.
            batch: Products, each with its own two matrices.
            rows: Rows of the first matrix and of the result.
            inner: Columns of the first matrix, rows of the second one.
            columns: Columns of the second matrix and of the result.

        Returns:
            A layer of batch x rows x inner x columns MACs.
        """
        sizes = {"batch": batch, "rows": rows, "inner": inner, "columns": columns}
        for field_name, value in sizes.items():
            _check_int(name, field_name, value, 1)
        return cls(name, 1, batch * inner, batch * columns, rows, 1, kernel=(1, 1), groups=batch)

    @classmethod
    def transposed(
        cls,
        name: str,
        batch: int,
        in_channels: int,
        out_channels: int,
        in_height: int,
        in_width: int,
        kernel: Pair,
        groups: int = 1,
    ) -> "ConvLayer":
        """Describe a transposed convolution as a dense product per input pixel.

        A transposed convolution multiplies every input pixel with every weight once, whatever its
        stride, padding, output padding and dilation are. It is therefore a 1 x 1 convolution with
        a filter for each output channel and kernel position, whose products are added up where
        they overlap in the output (this project's choice). The cost counts each product as an
        output that is stored; the additions are not counted. The MACs are those of PyTorch's FLOP
        counter, and ``weights`` are those of the transposed layer.

        Args:
            name: Name of the layer.
            batch: Images.
            in_channels: Input channels, summed over all groups.
            out_channels: Output channels, summed over all groups.
            in_height: Input rows.
            in_width: Input columns.
            kernel: Kernel rows and columns.
            groups: Groups.

        Returns:
            A layer of batch x in_height x in_width x kernel x in_channels x out_channels / groups
            MACs.
        """
        if not isinstance(kernel, (tuple, list)) or len(kernel) != 2:
            raise ValueError(f"Layer {name!r}: kernel={kernel!r} is not a pair (rows, columns).")
        for size in kernel:
            _check_int(name, "kernel", size, 1)
        _check_int(name, "out_channels", out_channels, 1)
        filters = out_channels * kernel[0] * kernel[1]
        return cls(name, batch, in_channels, filters, in_height, in_width, (1, 1), groups=groups)

    @property
    def out_height(self) -> int:
        """Output rows (E)."""
        return self._axes[0].outputs

    @property
    def out_width(self) -> int:
        """Output columns (F)."""
        return self._axes[1].outputs

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
        rows, columns = (reads(axis) for axis in self._axes)
        return Shape(
            N=self.batch,
            G=self.groups,
            M=self.out_channels // self.groups,
            C=self.in_channels // self.groups,
            E=self.out_height,
            F=self.out_width,
            R=self.kernel[0],
            S=self.kernel[1],
            U=rows.stride,
            D=rows.dilation,
            W=columns.padded,
            rows=rows.stored,
            columns=columns.stored,
            zeros=self.ifmap_zeros_per_10000,
        )


def _check_int(layer: str, name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"Layer {layer!r}: {name}={value!r} must be an integer >= {least}.")
