"""Apply channel masks to a network: as a smaller dense network, or as zeroed weights."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prune_gym.pruning.check import check_spaces
from prune_gym.pruning.rules import RULES, Keep
from prune_gym.pruning.spaces import (
    ChannelSpace,
    Masks,
    Side,
    check_masks,
    iterate_roles,
    iterate_sides,
)

ChannelMask = npt.NDArray[np.bool_]


def dense(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks, share: bool = False
) -> nn.Module:
    """Return a smaller copy of a network without the removed channels.

    Args:
        network: The network; it is not changed.
        spaces: Channel spaces of the network.
        masks: Masks of the spaces to cut; all other spaces stay complete.
        share: Whether the result shares the layers that no mask changes with ``network`` instead
            of copying them. Sharing takes a fifth of the time, but afterwards neither network may
            be changed in place.

    Returns:
        The smaller network, in the same mode and memory format.

    Raises:
        ValueError: If the spaces do not fit the network, or a mask does not fit its space.
    """
    result = copy.deepcopy(network, _untouched(network, spaces, masks) if share else {})
    for module, out, inp in _masked_layers(result, spaces, masks):
        RULES[type(module)].cut(module, out, inp)
    return result


def _untouched(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks
) -> dict[int, nn.Module]:
    """Modules in which no mask changes a layer, as a memo for ``copy.deepcopy``."""
    touched = {layer for layer, _, space in iterate_roles(spaces) if space.name in masks}
    above = {layer[:end] for layer in touched for end, c in enumerate(layer) if c == "."}
    changed = touched | above | {""}
    return {id(module): module for name, module in network.named_modules() if name not in changed}


def masked(network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks) -> nn.Module:
    """Return a copy of a network in which the removed channels are zeroed; no shape changes.

    The producers' weights, the norms' weights *and biases*, and the consumers' columns are set to
    zero. The outputs therefore equal those of :func:`dense` for any activation function.

    Args:
        network: The network; it is not changed.
        spaces: Channel spaces of the network.
        masks: Masks of the spaces to zero; all other spaces stay complete.

    Returns:
        The masked network.

    Raises:
        ValueError: If the spaces do not fit the network, or a mask does not fit its space.
    """
    result = copy.deepcopy(network)
    for module, out, inp in _masked_layers(result, spaces, masks):
        with torch.no_grad():
            RULES[type(module)].mask(module, out, inp)
    return result


def kept_slots(
    spaces: Sequence[ChannelSpace], masks: Masks, layer: str, side: Side, size: int
) -> ChannelMask:
    """Slots of a layer that masks keep, shape (size,).

    Args:
        spaces: Channel spaces of the network.
        masks: Masks of spaces; all other spaces stay complete.
        layer: Name of the layer.
        side: Side of the layer.
        size: Number of slots that the layer has on this side.
    """
    keep = np.ones(size, dtype=bool)
    for name, at, space in iterate_sides(spaces):
        if (name, at) == (layer, side) and space.name in masks:
            mask = np.asarray(masks[space.name], dtype=bool)
            keep[space.slots(layer, side, size)[~mask]] = False
    return keep


def _masked_layers(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks
) -> Iterator[tuple[nn.Module, Keep, Keep]]:
    """Yield each layer that changes, with the kept outputs and the kept inputs."""
    check_spaces(network, spaces)
    check_masks(spaces, masks)
    modules = dict(network.named_modules())
    keeps: dict[str, dict[Side, ChannelMask]] = {}
    for layer, side, space in iterate_sides(spaces):
        if space.name not in masks:
            continue
        size = RULES[type(modules[layer])].slots(modules[layer], side)
        keep = keeps.setdefault(layer, {}).setdefault(side, np.ones(size, dtype=bool))
        keep[space.slots(layer, side, size)[~np.asarray(masks[space.name], dtype=bool)]] = False
    for layer, sides in keeps.items():
        out, inp = sides.get("out"), sides.get("in")
        yield (
            modules[layer],
            None if out is None else torch.from_numpy(out),
            None if inp is None else torch.from_numpy(inp),
        )
