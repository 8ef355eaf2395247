"""Apply channel masks to a network: as a smaller dense network, or as zeroed weights."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.pruning.rules import RULES, check_spaces, expand
from prune_gym.pruning.spaces import ChannelSpace, Masks, check_masks, iterate_roles

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
        rule = RULES[type(module)]
        rule.cut(module, _kept(out), _input_index(module, inp))
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

    The producers' weights, the batch norms' weights *and biases*, and the consumers' columns are
    set to zero. The outputs therefore equal those of :func:`dense` for any activation function.

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
            RULES[type(module)].mask(module, _tensor(out), _tensor(inp))
    return result


def _masked_layers(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks
) -> Iterator[tuple[nn.Module, ChannelMask | None, ChannelMask | None]]:
    """Yield each layer that changes, with its output mask and its input mask."""
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
    """Indices of the kept inputs; for a Linear layer after a flatten, of the kept features."""
    index = _kept(mask)
    if index is None or mask is None or not isinstance(module, nn.Linear):
        return index
    return expand(index, module.in_features // mask.size)
