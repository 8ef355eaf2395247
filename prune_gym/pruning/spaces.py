"""Channel spaces: the declarative description of what must be pruned together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from torch import nn

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""For each named space a boolean array, one entry a channel, True to keep it."""


@dataclass(frozen=True)
class ChannelSpace:
    """Channels that several layers share and that are kept or removed together.

    Layers are named as in ``torch.nn.Module.named_modules``. Where a residual addition ties the
    outputs of several layers, all of them produce the same space.

    Args:
        name: The space's own name.
        channels: How many channels it has now.
        producers: Layers whose output channels are this space.
        consumers: Layers whose input channels are this space.
        followers: Layers that act on each channel alone (batch norm, depthwise convolution,
            PReLU), between producers and consumers.

    Raises:
        ValueError: Without a channel, a producer or a consumer.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    followers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"space {self.name!r}: channels is {self.channels}, at least 1 needed")
        for role in ("producers", "consumers"):
            if not getattr(self, role):
                raise ValueError(f"space {self.name!r} names no {role}")

    @property
    def tied(self) -> bool:
        """Whether several layers write it (a trunk space), so that scope ``inner`` leaves it."""
        return len(self.producers) > 1

    @property
    def members(self) -> tuple[str, ...]:
        """All layers that change when the space is cut."""
        return self.producers + self.followers + self.consumers


def iterate_roles(spaces: Sequence[ChannelSpace]) -> Iterator[tuple[str, str, ChannelSpace]]:
    """Yield (layer name, role, space) for every layer of every space.

    Roles are ``producers``, ``followers`` and ``consumers``.
    """
    for space in spaces:
        for role in ("producers", "followers", "consumers"):
            for layer in getattr(space, role):
                yield layer, role, space


def check_spaces(network: nn.Module, spaces: Sequence[ChannelSpace]) -> None:
    """Hold a description against the network that it describes.

    Args:
        network: The network.
        spaces: Its channel spaces.

    Raises:
        ValueError: A name is used twice, a layer does not exist, a layer's channels differ from
            its space's, or the layer's kind cannot take that role.
    """
    from prune_gym.pruning.rules import check_layer

    modules = dict(network.named_modules())
    names: set[str] = set()
    seen: dict[tuple[str, str], str] = {}
    for layer, role, space in iterate_roles(spaces):
        if layer not in modules:
            raise ValueError(f"space {space.name!r}: the network has no layer {layer!r}")
        if (layer, role) in seen:
            raise ValueError(
                f"layer {layer!r} is among the {role} of {seen[layer, role]!r} and {space.name!r}"
            )
        seen[layer, role] = space.name
        check_layer(layer, modules[layer], role, space)
    for space in spaces:
        if space.name in names:
            raise ValueError(f"two spaces are named {space.name!r}")
        names.add(space.name)


def check_masks(spaces: Sequence[ChannelSpace], masks: Masks) -> None:
    """Refuse masks of unknown spaces, wrong lengths, or that keep nothing.

    Raises:
        ValueError: Naming the space and the length.
    """
    by_name = {space.name: space for space in spaces}
    for name, mask in masks.items():
        if name not in by_name:
            raise ValueError(f"no space is named {name!r}; known: {', '.join(by_name)}")
        if np.shape(mask) != (by_name[name].channels,):
            raise ValueError(
                f"space {name!r}: the mask has shape {np.shape(mask)}, "
                f"needed: ({by_name[name].channels},)"
            )
        if not np.any(mask):
            raise ValueError(f"space {name!r}: the mask keeps no channel")


def cut_spaces(spaces: Sequence[ChannelSpace], masks: Masks) -> tuple[ChannelSpace, ...]:
    """The description of the network that :func:`prune_gym.pruning.dense` makes with ``masks``."""
    return tuple(
        replace(space, channels=int(np.sum(masks[space.name]))) if space.name in masks else space
        for space in spaces
    )


def legal_mask(
    mask: npt.ArrayLike, norms: npt.NDArray[np.floating], min_keep: int = 1, round_to: int = 1
) -> npt.NDArray[np.bool_]:
    """The nearest mask that hardware rules allow: filters are added back, largest norm first.

    Args:
        mask: One entry a filter, non-zero to keep it. Shape (channels,).
        norms: The filters' norms, to choose what is added. Shape (channels,).
        min_keep: Least number of kept filters (of a smaller layer: all).
        round_to: The number kept is rounded up to a multiple of this (or to all filters).

    Returns:
        A boolean mask of shape (channels,) that keeps at least one filter.

    Raises:
        ValueError: ``min_keep`` or ``round_to`` below 1, or shapes that differ.
    """
    if min_keep < 1 or round_to < 1:
        raise ValueError(f"min_keep={min_keep} and round_to={round_to} must be at least 1")
    kept = np.asarray(mask).astype(bool)
    if kept.shape != np.shape(norms):
        raise ValueError(f"the mask has shape {kept.shape}, the norms {np.shape(norms)}")
    wanted = max(int(kept.sum()), min_keep)
    wanted = min(-(-wanted // round_to) * round_to, kept.size)
    missing = wanted - int(kept.sum())
    if missing > 0:
        order = np.lexsort((np.arange(kept.size), -np.asarray(norms)))
        candidates = [index for index in order if not kept[index]]
        kept = kept.copy()
        kept[candidates[:missing]] = True
    return kept
