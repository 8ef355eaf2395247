"""Masks applied: the dense network that they leave, and the masked one that equals it."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.pruning.rules import RULES, expand
from prune_gym.pruning.spaces import ChannelSpace, Masks, check_masks, check_spaces, iterate_roles

ChannelMask = npt.NDArray[np.bool_]


def dense(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks, share: bool = False
) -> nn.Module:
    """Cut the removed channels out, physically.

    Args:
        network: The network; it is not changed.
        spaces: Its channel spaces.
        masks: Spaces to cut; those not named stay whole.
        share: Whether layers that no mask touches are the network's own, not copies. It takes a
            fifth of the time; neither network may be changed in place then.

    Returns:
        A smaller copy, in the same mode and memory format.

    Raises:
        ValueError: The description does not fit the network, or a mask not its space.
    """
    result = copy.deepcopy(network, _untouched(network, spaces, masks) if share else {})
    for module, out, inp in _masked_layers(result, spaces, masks):
        rule = RULES[type(module)]
        rule.cut(module, _kept(out), _input_index(module, inp))
    return result


def _untouched(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks
) -> dict[int, nn.Module]:
    """The modules within which no mask changes a layer, as a memo for ``copy.deepcopy``."""
    touched = {layer for layer, _, space in iterate_roles(spaces) if space.name in masks}
    above = {layer[:end] for layer in touched for end, c in enumerate(layer) if c == "."}
    changed = touched | above | {""}
    return {id(module): module for name, module in network.named_modules() if name not in changed}


def masked(network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks) -> nn.Module:
    """Silence the removed channels without changing a shape.

    The producers' weights, the batch norms' weights *and shifts*, and the consumers' columns are
    set to zero, so the outputs equal those of :func:`dense` whatever the activation in between.

    Args:
        network: The network; it is not changed.
        spaces: Its channel spaces.
        masks: Spaces to mask; those not named stay whole.

    Returns:
        A copy of the same shape.

    Raises:
        ValueError: The description does not fit the network, or a mask not its space.
    """
    result = copy.deepcopy(network)
    for module, out, inp in _masked_layers(result, spaces, masks):
        with torch.no_grad():
            RULES[type(module)].mask(module, _tensor(out), _tensor(inp))
    return result


def _masked_layers(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks
) -> Iterator[tuple[nn.Module, ChannelMask | None, ChannelMask | None]]:
    """Yield every layer that changes, with the masks of its outputs and of its inputs."""
    check_spaces(network, spaces)
    check_masks(spaces, masks)
    outs: dict[str, ChannelMask] = {}
    inps: dict[str, ChannelMask] = {}
    for layer, role, space in iterate_roles(spaces):
        if space.name in masks:
            side = inps if role == "consumers" else outs
            side[layer] = np.asarray(masks[space.name], dtype=bool)
    modules = dict(network.named_modules())
    for layer in dict.fromkeys([*outs, *inps]):
        yield modules[layer], outs.get(layer), inps.get(layer)


def _tensor(mask: ChannelMask | None) -> Tensor | None:
    return None if mask is None else torch.from_numpy(mask.copy())


def _kept(mask: ChannelMask | None) -> Tensor | None:
    return None if mask is None else torch.from_numpy(np.flatnonzero(mask))


def _input_index(module: nn.Module, mask: ChannelMask | None) -> Tensor | None:
    """Kept inputs; of a Linear layer behind a flatten, all features of the kept channels."""
    index = _kept(mask)
    if index is None or mask is None or not isinstance(module, nn.Linear):
        return index
    return expand(index, module.in_features // mask.size)
