"""Replace convolutions with ALF blocks, and ALF blocks with plain layers."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from prune_gym.alf.block import ALFConv2d
from prune_gym.alf.options import ALFOptions
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace

CODE, EXPANSION = "0", "1"
"""Names of the two convolutions that replace a layer, within the layer."""


def code_space_name(layer: str) -> str:
    """Name of the channel space between a layer's codes and its expansion."""
    return f"{layer}.code"


def convertible(network: nn.Module) -> list[str]:
    """Names of the convolutions that ALF replaces by default.

    They are ungrouped and not frozen, and their kernels are larger than 1.
    """
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
        and module.weight.requires_grad
        and module.groups == 1
        and max(module.kernel_size) > 1
    ]


def to_alf(
    network: Network,
    layers: Sequence[str] | None,
    options: ALFOptions,
    generator: torch.Generator | None = None,
) -> nn.Module:
    """Copy a network and replace convolutions with :class:`ALFConv2d` blocks.

    Args:
        network: The network; it is not changed.
        layers: Names of the convolutions; None for all :func:`convertible` ones.
        options: Constants of the blocks.
        generator: Random generator to initialise the blocks for training from scratch. With None,
            the blocks start from the trained convolutions and the network's outputs are unchanged.

    Raises:
        ValueError: If a layer is not a convolution, or ALF does not support it.
    """
    module = copy.deepcopy(network.module)
    for name in convertible(module) if layers is None else layers:
        try:
            conv = module.get_submodule(name)
        except AttributeError:
            raise ValueError(f"the network has no layer {name!r}") from None
        if not isinstance(conv, nn.Conv2d):
            raise ValueError(f"layer {name!r} is a {type(conv).__name__}, not a convolution")
        try:
            block = (
                ALFConv2d(conv, options)
                if generator is None
                else ALFConv2d.from_scratch(conv, options, generator)
            )
        except ValueError as error:
            raise ValueError(f"layer {name!r}: {error}") from None
        module.set_submodule(name, block)
    return module


def blocks(module: nn.Module) -> dict[str, ALFConv2d]:
    """Blocks of a network by name, in the network's order."""
    return {name: m for name, m in module.named_modules() if isinstance(m, ALFConv2d)}


def pays(conv: nn.Conv2d | ALFConv2d, codes: int) -> bool:
    """Whether the codes and expansion need fewer weights and MACs than the convolution.

    The condition is ``Cc < Ci * Co * K^2 / (Ci * K^2 + Co)``. Code maps and outputs have the same
    size, so the stride does not matter.
    """
    height, width = conv.kernel_size[0], conv.kernel_size[1]
    each = conv.in_channels * height * width
    return codes * (each + conv.out_channels) < conv.out_channels * each


def deploy(module: nn.Module, network: Network) -> Network:
    """Replace all blocks with equivalent plain layers.

    A block becomes ``nn.Sequential(Conv2d, Conv2d 1 x 1)`` if this is smaller than the original
    convolution (:func:`pays`); otherwise both are merged into one convolution.

    Args:
        module: Module with blocks; it is not changed.
        network: Network from which ``module`` was made.

    Returns:
        A network of plain layers, with a channel space ``LAYER.code`` for each pair.
    """
    result = copy.deepcopy(module)
    paired: dict[str, int] = {}
    for name, block in blocks(result).items():
        plain = _pair(block) if pays(block, block.codes_alive) else _merged(block)
        if isinstance(plain, nn.Sequential):
            paired[name] = block.codes_alive
        result.set_submodule(name, plain)
    return replace(network, module=result, spaces=with_codes(network.spaces, paired))


def with_codes(
    spaces: Sequence[ChannelSpace], paired: Mapping[str, int]
) -> tuple[ChannelSpace, ...]:
    """Channel spaces after convolutions were replaced with pairs of ``paired`` codes.

    They are the given spaces with the names of the new layers, followed by one space per pair.
    """

    def renamed(names: tuple[str, ...], part: str) -> tuple[str, ...]:
        return tuple(f"{name}.{part}" if name in paired else name for name in names)

    changed = [
        replace(
            space,
            producers=renamed(space.producers, EXPANSION),
            consumers=renamed(space.consumers, CODE),
        )
        for space in spaces
    ]
    between = [
        ChannelSpace(code_space_name(name), codes, (f"{name}.{CODE}",), (f"{name}.{EXPANSION}",))
        for name, codes in paired.items()
    ]
    return (*changed, *between)


def pair_up(network: Network, codes: Mapping[str, int]) -> Network:
    """Give a network the structure of a deployed one, so that weights can be loaded into it.

    Args:
        network: Network without ALF; it is not changed.
        codes: Number of codes by the name of the code space.

    Raises:
        ValueError: If a name is not the code space of a convolution, or a number is less than 1.
    """
    module, paired = copy.deepcopy(network.module), dict[str, int]()
    modules = dict(module.named_modules())
    for name, count in codes.items():
        layer = name.removesuffix(".code")
        conv = modules.get(layer)
        if layer == name or not isinstance(conv, nn.Conv2d):
            raise ValueError(f"{network.architecture} has no space {name!r}")
        if count < 1:
            raise ValueError(f"space {name!r} keeps no channels; at least 1 is needed")
        module.set_submodule(layer, empty_pair(conv, count).train(conv.training))
        paired[layer] = count
    return replace(network, module=module, spaces=with_codes(network.spaces, paired))


def empty_pair(conv: nn.Conv2d, codes: int) -> nn.Sequential:
    """Make a pair of layers with the shapes of a convolution; the weights are not set."""
    like = _like(conv)
    code = nn.Conv2d(conv.in_channels, codes, bias=False, **_geometry(conv), **like)
    expansion = nn.Conv2d(codes, conv.out_channels, 1, bias=conv.bias is not None, **like)
    return nn.Sequential(code, expansion)


def _empty_conv(block: ALFConv2d) -> nn.Conv2d:
    """Make a convolution with the shape of the block; the weights are not set."""
    given = {**_geometry(block), **_like(block), "bias": block.expansion.bias is not None}
    return nn.Conv2d(block.in_channels, block.out_channels, **given)


def _like(layer: nn.Conv2d | ALFConv2d) -> dict[str, Any]:
    return {"device": layer.weight.device, "dtype": layer.weight.dtype}


def _geometry(layer: nn.Conv2d | ALFConv2d) -> dict[str, Any]:
    names = ("kernel_size", "stride", "padding", "dilation")
    return {name: getattr(layer, name) for name in names}


@torch.no_grad()
def _pair(block: ALFConv2d) -> nn.Sequential:
    pair = empty_pair(_empty_conv(block), block.codes_alive)
    code, expansion = pair[0], pair[1]
    assert isinstance(code, nn.Conv2d)
    assert isinstance(expansion, nn.Conv2d)
    code.weight.copy_(block.code_filters())
    expansion.weight.copy_(block.expansion_filters())
    _copy_bias(block, expansion)
    return pair.train(block.training)


@torch.no_grad()
def _merged(block: ALFConv2d) -> nn.Conv2d:
    conv = _empty_conv(block)
    filters = block.code_filters().flatten(1).double()
    product = block.expansion_filters().flatten(1).double() @ filters
    conv.weight.copy_(product.view_as(conv.weight))
    _copy_bias(block, conv)
    conv.train(block.training)
    return conv


def _copy_bias(block: ALFConv2d, conv: nn.Conv2d) -> None:
    if block.expansion.bias is not None and conv.bias is not None:
        conv.bias.copy_(block.expansion.bias)
