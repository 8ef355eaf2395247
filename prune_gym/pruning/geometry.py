"""Parameters, MACs and accelerator layers of a network in closed form, for any channel counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hw_sim import ConvLayer
from prune_gym.pruning.rules import check_spaces, is_depthwise
from prune_gym.pruning.spaces import ChannelSpace, iterate_roles

Counts = Mapping[str, int]
"""Number of kept channels per space; a space that is not listed keeps all channels."""


@dataclass(frozen=True)
class LayerGeometry:
    """Properties of a convolution or dense layer that pruning does not change.

    Args:
        name: Name of the layer.
        out_space: Space of the outputs; None if their number is fixed.
        in_space: Space of the inputs; None if their number is fixed.
        out_channels: Output channels of the unpruned layer.
        in_channels: Input channels of the unpruned layer.
        repeat: Input features per channel (more than 1 for a Linear layer after a flatten).
        kernel: Kernel height and width; (1, 1) for a dense layer.
        stride: Stride in both directions.
        padding: Padding in both directions.
        in_size: Input height and width.
        out_size: Output height and width.
        depthwise: Whether the layer is a depthwise convolution.
        bias: Whether the layer has a bias.
        linear: Whether the layer is a dense layer.
    """

    name: str
    out_space: str | None
    in_space: str | None
    out_channels: int
    in_channels: int
    repeat: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    depthwise: bool
    bias: bool
    linear: bool

    def channels(self, counts: Counts) -> tuple[int, int]:
        """Output and input channels (or features) for the given counts."""
        out = counts.get(self.out_space or "", self.out_channels)
        before = counts.get(self.in_space or "")
        inp = self.in_channels if before is None else before * self.repeat
        return out, out if self.depthwise else inp

    def weights(self, counts: Counts) -> int:
        """Number of weights and biases for the given counts."""
        out, inp = self.channels(counts)
        each = (1 if self.depthwise else inp) * self.kernel[0] * self.kernel[1]
        return out * (each + self.bias)

    def macs(self, counts: Counts) -> int:
        """Multiply-accumulates per image for the given counts."""
        out, inp = self.channels(counts)
        each = (1 if self.depthwise else inp) * self.kernel[0] * self.kernel[1]
        return out * each * self.out_size[0] * self.out_size[1]

    def activations(self, counts: Counts) -> int:
        """Size of the input and output feature maps of one image for the given counts."""
        out, inp = self.channels(counts)
        return out * self.out_size[0] * self.out_size[1] + inp * self.in_size[0] * self.in_size[1]

    def accelerator_layer(self, counts: Counts, batch: int) -> ConvLayer:
        """Describe the layer for :mod:`hw_sim`."""
        out, inp = self.channels(counts)
        if self.linear:
            return ConvLayer.dense(self.name, batch, inp, out)
        return ConvLayer(
            self.name,
            batch,
            inp,
            out,
            *self.in_size,
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            groups=out if self.depthwise else 1,
        )


class Geometry:
    """Layer shapes of a network, traced once; all costs are computed from them.

    Args:
        network: The network; it runs once on a zero image, in ``eval`` mode.
        spaces: Channel spaces of the network.
        input_shape: Channels, height and width of an image.

    Raises:
        ValueError: If the spaces do not fit the network, or the stride or padding of a layer
            differs between directions.
    """

    def __init__(
        self,
        network: nn.Module,
        spaces: Sequence[ChannelSpace],
        input_shape: tuple[int, int, int],
    ) -> None:
        check_spaces(network, spaces)
        self.spaces = tuple(spaces)
        self.layers = _trace(network, spaces, input_shape)
        self._fixed, self._per_channel = _other_parameters(network, spaces, self.layers)

    def numbered(self, counts: Counts) -> Sequence[tuple[int, LayerGeometry]]:
        """Layers of the network with the given counts of all spaces, in execution order.

        Each layer has a number that identifies it for all counts.
        """
        return tuple(enumerate(self.layers))

    def counts(self, counts: Counts | None = None) -> dict[str, int]:
        """Channel counts of all spaces: the given counts, and all channels for other spaces."""
        return {space.name: space.channels for space in self.spaces} | dict(counts or {})

    def params(self, counts: Counts | None = None) -> int:
        """Number of parameters, including those of batch norms."""
        full = self.counts(counts)
        return self.other_params(full) + sum(
            layer.weights(full) for _, layer in self.numbered(full)
        )

    def other_params(self, counts: Counts) -> int:
        """Parameters outside convolutions and dense layers, for the given counts of all spaces."""
        return self._fixed + sum(each * counts[name] for name, each in self._per_channel.items())

    def macs(self, counts: Counts | None = None) -> int:
        """Multiply-accumulates of convolutions and dense layers per image."""
        full = self.counts(counts)
        return sum(layer.macs(full) for _, layer in self.numbered(full))

    def accelerator_layers(self, counts: Counts | None = None, batch: int = 1) -> list[ConvLayer]:
        """All layers in execution order, for :func:`hw_sim.evaluate_network`."""
        full = self.counts(counts)
        return [layer.accelerator_layer(full, batch) for _, layer in self.numbered(full)]


def _trace(
    network: nn.Module, spaces: Sequence[ChannelSpace], input_shape: tuple[int, int, int]
) -> tuple[LayerGeometry, ...]:
    """Run one zero image and record the shapes at all convolutions and dense layers."""
    out_of: dict[str, ChannelSpace] = {}
    into: dict[str, ChannelSpace] = {}
    for layer, role, space in iterate_roles(spaces):
        (into if role == "consumers" else out_of)[layer] = space
    found: list[LayerGeometry] = []
    handles = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):

            def note(
                module: nn.Module, args: tuple[Tensor], output: Tensor, name: str = name
            ) -> None:
                found.append(
                    _layer_geometry(name, module, args[0], output, out_of.get(name), into.get(name))
                )

            handles.append(module.register_forward_hook(note))
    training = network.training
    parameter = next(network.parameters())
    try:
        network.eval()
        with torch.no_grad():
            network(torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype))
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    return tuple(found)


def _layer_geometry(
    name: str,
    module: nn.Module,
    x: Tensor,
    y: Tensor,
    out_space: ChannelSpace | None,
    in_space: ChannelSpace | None,
) -> LayerGeometry:
    follower = out_space is not None and name in out_space.followers
    outside = (out_space.name if out_space else None, in_space.name if in_space else None)
    if isinstance(module, nn.Linear):
        inp, out, bias = module.in_features, module.out_features, module.bias is not None
        repeat, one = inp // in_space.channels if in_space else 1, (1, 1)
        return LayerGeometry(
            name, *outside, out, inp, repeat, one, 1, 0, one, one, False, bias, linear=True
        )
    assert isinstance(module, nn.Conv2d)
    uneven = len(set(module.stride)) > 1 or isinstance(module.padding, str)
    if uneven or len(set(module.padding)) > 1 or set(module.dilation) != {1}:
        raise ValueError(
            f"layer {name!r}: stride {module.stride}, padding {module.padding!r} and dilation "
            f"{module.dilation} must be equal in both directions, and dilation must be 1"
        )
    depthwise = is_depthwise(module) and (module.groups > 1 or follower)
    if module.groups != 1 and not depthwise:
        raise ValueError(f"layer {name!r}: groups={module.groups} is not supported")
    return LayerGeometry(
        name,
        *outside,
        out_channels=module.out_channels,
        in_channels=module.in_channels,
        repeat=1,
        kernel=(module.kernel_size[0], module.kernel_size[1]),
        stride=module.stride[0],
        padding=int(module.padding[0]),
        in_size=(x.shape[2], x.shape[3]),
        out_size=(y.shape[2], y.shape[3]),
        depthwise=depthwise,
        bias=module.bias is not None,
        linear=False,
    )


def _other_parameters(
    network: nn.Module, spaces: Sequence[ChannelSpace], layers: Sequence[LayerGeometry]
) -> tuple[int, dict[str, int]]:
    """Parameters outside convolutions and dense layers: a constant, and a number per channel."""
    counted = {layer.name for layer in layers}
    space_of = {layer: space for layer, role, space in iterate_roles(spaces) if role == "followers"}
    fixed = 0
    per_channel: dict[str, int] = {}
    for name, module in network.named_modules():
        size = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if name in counted or not size:
            continue
        if name in space_of:
            space = space_of[name]
            per_channel[space.name] = per_channel.get(space.name, 0) + size // space.channels
        else:
            fixed += size
    return fixed, per_channel
