"""Sampled rows of a layer: some of its output positions, and the inputs that each of them reads.

A convolution is a dense layer that is applied at each position of its output map, and a dense layer
on tokens is applied to each token. A row is one such application. The sampling is this project's
choice: the same positions for all images, drawn once with a fixed seed.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from prune_gym.batches import Images, split_images

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Kinds of layers that have rows; a subclass may compute something else, so it has none."""
Layer = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear

BATCH = 128
"""Number of images in a forward pass of the repair; fewer if they are large."""


def has_rows(module: nn.Module) -> bool:
    """Whether a layer is of a kind in ``LAYERS``."""
    return type(module) in LAYERS


@dataclass(frozen=True)
class Call:
    """The sampled output positions of one call of a layer.

    Args:
        shape: Shape of the output without its channels: (maps, height, width) for a convolution in
            two dimensions, (N,) or (N, tokens) for a dense layer.
        positions: Indices into the flattened shape, ascending, int64.
    """

    shape: tuple[int, ...]
    positions: Tensor


@dataclass
class Sampler:
    """Draws the positions of each call, in the order of the calls.

    Args:
        samples: Largest number of sampled positions for each image.
    """

    samples: int
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    _drawn: dict[tuple[str, int, int, int], Tensor] = field(default_factory=dict)

    def call(self, layer: str, number: int, shape: tuple[int, ...], images: int) -> Call:
        """Sample a call.

        Args:
            layer: Name of the layer.
            number: Number of the call among the layer's calls in one forward pass.
            shape: Shape of the output without its channels.
            images: Number of images in the forward pass.
        """
        # The rows of an image lie together if the first dimension goes through the images, or
        # through their windows or frames. If not (time first, or a table that does not depend on
        # the images), all rows are sampled as one.
        maps = images if shape[0] % images == 0 else 1
        each = math.prod(shape) // maps
        count = min(self.samples * (images // maps), each)
        key = layer, number, each, count
        if key not in self._drawn:
            drawn = self._rng.choice(each, count, replace=False)
            drawn.sort()
            self._drawn[key] = torch.from_numpy(drawn)
        positions = torch.arange(maps)[:, None] * each + self._drawn[key]
        return Call(shape, positions.flatten())


def output_shape(name: str, layer: Layer, output: Tensor) -> tuple[int, ...]:
    """Shape of a layer's output without its channels (:class:`Call`).

    Raises:
        ValueError: If a convolution was applied to a single image without a batch dimension.
    """
    if isinstance(layer, nn.Linear):
        shape = output.shape[:-1]
    elif output.dim() == len(layer.kernel_size) + 2:
        shape = output.shape[:1] + output.shape[2:]
    else:
        raise ValueError(
            f"layer {name!r} has an output of shape {tuple(output.shape)} without a batch "
            "dimension, so it cannot be refitted; use recovery='bn' or 'none'"
        )
    return tuple(shape)


def output_rows(layer: Layer, output: Tensor, call: Call) -> Tensor:
    """The sampled rows of a layer's output, shape (rows, out channels)."""
    last = output if isinstance(layer, nn.Linear) else output.movedim(1, -1)
    return last[_unravel(call.positions, call.shape)]


def input_rows(name: str, layer: Layer, inputs: Tensor, call: Call) -> Tensor:
    """The inputs that each sampled row of a layer reads.

    Args:
        name: Name of the layer, for messages.
        layer: The layer.
        inputs: Inputs of the call, as the layer gets them.
        call: The call, with as many output positions as in the unpruned network.

    Returns:
        Inputs in the order of ``layer.weight[i].flatten()``, one group after the other, float64,
        shape (rows, groups * inputs of a group).

    Raises:
        ValueError: If the call makes an output of another size than in the unpruned network.
    """
    if isinstance(layer, nn.Linear):
        _check_shape(name, tuple(inputs.shape[:-1]), call.shape)
        return inputs[_unravel(call.positions, call.shape)].double()
    inputs = _pad(layer, inputs)
    steps = list(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True))
    sizes = (
        (size - dilation * (kernel - 1) - 1) // stride + 1
        for size, (kernel, stride, dilation) in zip(inputs.shape[2:], steps, strict=True)
    )
    _check_shape(name, (len(inputs), *sizes), call.shape)
    image, *places = _unravel(call.positions, call.shape)
    dims = len(steps)
    index = [image.view(-1, *(1,) * dims)]
    for dim, (place, (kernel, stride, dilation)) in enumerate(zip(places, steps, strict=True)):
        window = [-1 if own == dim else 1 for own in range(dims)]
        offsets = (torch.arange(kernel) * dilation).view(window)
        index.append((place * stride).view(-1, *(1,) * dims) + offsets)
    # (rows, kernel..., channels) -> (rows, channels * kernel)
    rows = inputs.movedim(1, -1)[tuple(index)].movedim(-1, 1)
    return rows.to(torch.float64, memory_format=torch.contiguous_format).flatten(1)


def _unravel(positions: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.unravel_index(positions, shape))


def _check_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    if shape != expected:
        raise ValueError(
            f"layer {name!r} computes {shape} outputs a channel, but {expected} in the unpruned "
            "network, so it cannot be refitted; use recovery='bn' or 'none'"
        )


def _pad(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, inputs: Tensor) -> Tensor:
    """The inputs of a convolution with its padding, whatever its mode."""
    sides: list[int] = []
    # torch.nn.functional.pad takes the last dimension first.
    for dim in reversed(range(len(layer.kernel_size))):
        if isinstance(layer.padding, str):
            span = layer.dilation[dim] * (layer.kernel_size[dim] - 1)
            total = span if layer.padding == "same" else 0
            sides += [total // 2, total - total // 2]
        else:
            sides += [layer.padding[dim]] * 2
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return functional.pad(inputs, sides, mode=mode)


@dataclass(frozen=True)
class Reference:
    """Sampled outputs of one layer of the unpruned network on the repair images.

    Args:
        calls: Sampled positions of each call of the layer, in the order of the calls.
        repeats: Number of calls in one forward pass.
        outputs: Outputs at these positions, shape (rows, out channels), float32.
    """

    calls: tuple[Call, ...]
    repeats: int
    outputs: Tensor


def checked_layer(name: str, module: nn.Module) -> Layer:
    """The layer, if it has rows; ValueError with its name if it has none."""
    if not has_rows(module):
        raise ValueError(f"layer {name!r} is a {type(module).__name__}, which cannot be refitted")
    return cast(Layer, module)


def system_size(layer: Layer) -> int:
    """Number of inputs of each output: those of a group, and 1 for a bias."""
    return layer.weight[0].numel() + (layer.bias is not None)


def references(
    network: nn.Module, layers: Sequence[str], images: Images, sampler: Sampler
) -> dict[str, Reference]:
    """Sample the outputs of layers of the unpruned network.

    Args:
        network: The unpruned network, in ``eval`` mode.
        layers: Names of the layers.
        images: Normalised images, shape (N, C, H, W).
        sampler: Sampler of the positions.

    Returns:
        The reference of each layer that the network calls, by name.

    Raises:
        ValueError: If a layer has no rows, or is called without a batch dimension.
    """
    outputs: dict[str, list[Tensor]] = {}
    calls: dict[str, list[Call]] = {}
    present: list[int] = []  # number of images in the present batch
    number: Counter[str] = Counter()  # calls in the present batch

    def keep(name: str, layer: Layer, output: Tensor) -> None:
        shape = output_shape(name, layer, output)
        call = sampler.call(name, number[name], shape, present[-1])
        number[name] += 1
        calls.setdefault(name, []).append(call)
        # A copy, because later layers may change the output in place.
        outputs.setdefault(name, []).append(output_rows(layer, output, call))

    handles = [
        checked_layer(name, network.get_submodule(name)).register_forward_hook(
            lambda layer, _, output, name=name: keep(name, layer, output)
        )
        for name in dict.fromkeys(layers)
    ]
    batches = split_images(images, BATCH)
    try:
        with torch.no_grad():
            for part in batches:
                present.append(len(part))
                number.clear()
                network(part)
    finally:
        for handle in handles:
            handle.remove()
    return {
        name: Reference(tuple(calls[name]), number[name], torch.cat(outputs[name]))
        for name in outputs
    }


class _Reached(Exception):
    """Ends a forward pass at the selected layer."""


def layer_inputs(
    network: nn.Module, module: nn.Module, images: Images, repeats: int = 1
) -> Iterator[Tensor]:
    """Yield the inputs of one layer of a network in batches; a forward pass ends at the layer.

    Args:
        network: The network, in ``eval`` mode.
        module: The layer.
        images: Normalised images, shape (N, C, H, W).
        repeats: Number of calls of the layer in one forward pass; each yields its inputs.
    """
    seen: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        given = args[0] if args else named["input"]
        if len(seen) + 1 == repeats:
            seen.append(given)
            raise _Reached
        # A copy, because the network goes on and may change it in place.
        seen.append(given.clone())

    for part in split_images(images, BATCH):
        handle = module.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            network(part)
        except _Reached:
            pass
        finally:
            handle.remove()
        while seen:
            yield seen.pop(0)
