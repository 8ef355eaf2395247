"""Sizes of one call of a layer, and its costs for any channel counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hw_sim import ConvLayer

Counts = Mapping[str, int]
"""Number of kept channels per space; a space that is not listed keeps all channels."""

Pair = tuple[int, int]
Kind = Literal["conv", "linear", "transposed", "matmul"]


@dataclass(frozen=True)
class Width:
    """Number of outputs or inputs of a layer as a function of channel counts.

    Args:
        size: Number in the unpruned layer.
        parts: For each space, its name, its channels, and the layer's slots per channel.
    """

    size: int
    parts: tuple[tuple[str, int, int], ...] = ()

    @property
    def space(self) -> str | None:
        """The space that fills the side; None if there are several, or some slots are fixed."""
        if len(self.parts) == 1 and self.parts[0][1] * self.parts[0][2] == self.size:
            return self.parts[0][0]
        return None

    def of(self, counts: Counts) -> int:
        """The number for the given counts."""
        size = self.size
        for name, channels, each in self.parts:
            size -= (channels - counts.get(name, channels)) * each
        return size


@dataclass(frozen=True)
class LayerGeometry:
    """Sizes of one call of a layer that pruning does not change.

    Args:
        name: Name of the call: that of the layer; a second call of the layer has ``#2`` added.
        layer: Name of the layer; for an operation outside a layer, of the module that calls it.
        kind: Kind of the call. A dense layer on tokens counts once a token. ``"matmul"`` is a
            product of two activations, as in attention; its sizes are fixed.
        outputs: Output channels or features; columns of a product.
        inputs: Input channels or features; inner size of a product.
        kernel: Kernel height and width; (1, 1) for dense layers and products.
        stride: Stride in both directions.
        padding: Padding as ((top, bottom), (left, right)).
        dilation: Dilation in both directions.
        in_size: Input height and width; (tokens, 1) for a dense layer, (rows, 1) for a product.
        out_size: Output height and width.
        groups: Groups of the unpruned layer.
        whole_groups: Whether pruning removes whole groups; otherwise their number is fixed.
        bias: Whether the layer has a bias.
        counted_elsewhere: Whether the weights are counted with an earlier call of the layer, or
            with the parameters outside layers.
        products: Products per image: those of a ``"matmul"``, or the parts of an image that a
            convolution reads as a batch.
    """

    name: str
    layer: str
    kind: Kind
    outputs: Width
    inputs: Width
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    in_size: Pair = (1, 1)
    out_size: Pair = (1, 1)
    groups: int = 1
    whole_groups: bool = False
    bias: bool = False
    counted_elsewhere: bool = False
    products: int = 1

    @property
    def out_channels(self) -> int:
        """Outputs of the unpruned layer."""
        return self.outputs.size

    @property
    def in_channels(self) -> int:
        """Inputs of the unpruned layer."""
        return self.inputs.size

    def channels(self, counts: Counts) -> Pair:
        """Output and input channels (or features) for the given counts."""
        return self.outputs.of(counts), self.inputs.of(counts)

    def _groups(self, inputs: int) -> int:
        return inputs * self.groups // self.inputs.size if self.whole_groups else self.groups

    def _connections(self, counts: Counts) -> int:
        """Weights without biases for the given counts."""
        out, inp = self.channels(counts)
        return out * (inp // self._groups(inp)) * self.kernel[0] * self.kernel[1]

    def weights(self, counts: Counts) -> int:
        """Number of weights and biases for the given counts; 0 if they are counted elsewhere."""
        if self.counted_elsewhere or self.kind == "matmul":
            return 0
        return self._connections(counts) + self.bias * self.outputs.of(counts)

    def macs(self, counts: Counts) -> int:
        """Multiply-accumulates per image for the given counts.

        A transposed convolution multiplies each input pixel with each weight once.
        """
        height, width = self.in_size if self.kind == "transposed" else self.out_size
        return self._connections(counts) * height * width * self.products

    def activations(self, counts: Counts) -> int:
        """Size of the input and output feature maps of one image for the given counts."""
        out, inp = self.channels(counts)
        maps = out * self.out_size[0] * self.out_size[1] + inp * self.in_size[0] * self.in_size[1]
        second = out * inp if self.kind == "matmul" else 0
        return (maps + second) * self.products

    def accelerator_layer(self, counts: Counts, batch: int) -> ConvLayer:
        """Describe the call for :mod:`hw_sim`."""
        out, inp = self.channels(counts)
        if self.kind == "matmul":
            rows = self.in_size[0]
            return ConvLayer.matmul(self.name, batch * self.products, rows, inp, out)
        if self.kind == "transposed":
            groups = self._groups(inp)
            return ConvLayer.transposed(
                self.name,
                batch * self.products,
                inp,
                out,
                *self.in_size,
                kernel=self.kernel,
                groups=groups,
            )
        return ConvLayer(
            self.name,
            batch * self.products,
            inp,
            out,
            *self.in_size,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            groups=self._groups(inp),
            dilation=self.dilation,
        )
