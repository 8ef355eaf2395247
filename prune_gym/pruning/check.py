"""Checks of channel spaces against a network."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from prune_gym.pruning.hooks import check_hooks
from prune_gym.pruning.rules import RULES, Conv, groups_of
from prune_gym.pruning.spaces import ChannelSpace, Side, Slots, iterate_roles, iterate_sides

_END: dict[str, tuple[Side, ...]] = {"producers": ("out",), "consumers": ("in",)}


def check_spaces(network: nn.Module, spaces: Sequence[ChannelSpace]) -> None:
    """Check that channel spaces fit a network.

    :func:`prune_gym.pruning.verify_spaces` also runs the network, and finds what this check cannot
    see.

    Args:
        network: The network.
        spaces: Channel spaces of the network.

    Raises:
        ValueError: If a name is used twice, a layer does not exist, two spaces claim one slot of a
            layer, a layer and its space have different numbers of channels, a kind of layer does
            not support its role, or a layer shares its weights with another or rebuilds them in
            each forward pass.
    """
    modules = dict(network.named_modules())
    shared = shared_weights(modules)
    for layer, role, space in iterate_roles(spaces):
        where = f"space {space.name!r}, {role} {layer!r}"
        if layer not in modules:
            raise ValueError(f"space {space.name!r}: the network has no layer {layer!r}")
        check_hooks(layer, modules[layer])
        kind = type(modules[layer])
        if kind not in RULES:
            known = ", ".join(kind.__name__ for kind in RULES)
            raise ValueError(f"{where}: no rule cuts a {kind.__name__}; supported: {known}")
        if role not in RULES[kind].roles:
            allowed = " or ".join(RULES[kind].roles)
            raise ValueError(f"{where}: a {kind.__name__} can only be one of the {allowed}")
        if layer in shared:
            raise ValueError(f"{where}: the layer shares its weights with {shared[layer]!r}")
        if groups_of(modules[layer]) > 1 or (
            role == "followers" and isinstance(modules[layer], Conv)
        ):
            _check_groups(where, modules[layer], role, space, layer)
    _check_slots(modules, spaces)
    for name, times in Counter(space.name for space in spaces).items():
        if times > 1:
            raise ValueError(f"two spaces are named {name!r}")


def shared_weights(modules: Mapping[str, nn.Module]) -> dict[str, str]:
    """Layers that share a parameter with another layer, each with the other layer's name."""
    owner: dict[int, str] = {}
    shared: dict[str, str] = {}
    for name, module in modules.items():
        for parameter in module._parameters.values():
            if parameter is None:
                continue
            other = owner.setdefault(id(parameter), name)
            if other != name:
                shared[name] = other
                shared.setdefault(other, name)
    return shared


def _check_slots(modules: Mapping[str, nn.Module], spaces: Sequence[ChannelSpace]) -> None:
    """Check that the spaces fit the slots of the layers, and that no two claim the same slot."""
    whole: dict[tuple[str, Side], ChannelSpace] = {}
    taken: dict[tuple[str, Side], npt.NDArray[np.bool_]] = {}
    for layer, side, space in iterate_sides(spaces):
        module = modules[layer]
        size = RULES[type(module)].slots(module, side)
        slots = space.slots(layer, side, size)
        if (
            space.place(layer, side) is None
            and slots.shape[1] > 1
            and not isinstance(module, nn.Linear)
        ):
            # Only features of a flattened image may come in runs without being listed.
            raise ValueError(
                f"space {space.name!r}: layer {layer!r} has {size} channels, but the space has "
                f"{space.channels}"
            )
        used = taken.setdefault((layer, side), np.zeros(size, dtype=bool))
        if used[slots].any():
            other = whole[layer, side].name
            raise ValueError(
                f"layer {layer!r} ({side}put) is in both {other!r} and {space.name!r}; a layer "
                "can be in several spaces only with different slots"
            )
        used[slots] = True
        whole[layer, side] = space


def _check_groups(
    where: str, module: nn.Module, role: str, space: ChannelSpace, layer: str
) -> None:
    """Check that each channel fills whole groups, or has equally many slots in each group."""
    groups, rule = groups_of(module), RULES[type(module)]
    sides: tuple[Side, ...] = ("out", "in") if role == "followers" else _END[role]
    found = []
    for side in sides:
        size = rule.slots(module, side) // groups
        group = np.sort(space.slots(layer, side, size * groups) // size, axis=1)
        found.append((group, size))
    if role == "followers":
        if not _whole_groups(found):
            raise ValueError(
                f"{where}: only a depthwise or grouped layer can be a follower, if each channel of "
                f"the space is one or more of its groups; it has {groups} groups"
            )
    elif not all(_equal_groups(group, groups) for group, _ in found):
        raise ValueError(
            f"{where}: groups={groups} need equally many slots of each channel in each group; "
            "depthwise convolutions must be followers"
        )


def _whole_groups(found: Sequence[tuple[Slots, int]]) -> bool:
    """Whether each channel fills the same groups on all sides.

    Args:
        found: For each side, the sorted groups of each channel's slots, and the size of a group.
    """
    filled = []
    for group, size in found:
        if group.shape[1] % size:
            return False
        by_group = group.reshape(len(group), -1, size)
        if (by_group != by_group[:, :, :1]).any():
            return False
        filled.append(by_group[:, :, 0])
    return all(np.array_equal(each, filled[0]) for each in filled)


def _equal_groups(group: Slots, groups: int) -> bool:
    """Whether each channel has equally many slots in each group."""
    each, rest = divmod(group.shape[1], groups)
    return not rest and bool((group == np.arange(groups).repeat(each)).all())
