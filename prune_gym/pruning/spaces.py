"""Channel spaces: declarations of the channels that must be pruned together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""Boolean array per space with one entry per channel; True keeps the channel."""

Side = Literal["out", "in"]
Slots = npt.NDArray[np.int64]

_SIDES: dict[str, tuple[Side, ...]] = {
    "producers": ("out",),
    "consumers": ("in",),
    "followers": ("out", "in"),
}


@dataclass(frozen=True, eq=False)
class Place:
    """Slots of a layer that hold the channels of a space.

    The slots of a layer are its output or input channels (features of a dense layer), numbered
    from 0. A place is needed only if a space does not fill its side of a layer in order, as at a
    layer that reads a concatenation.

    Args:
        layer: Name of the layer.
        side: ``"out"`` for the layer's outputs, ``"in"`` for its inputs.
        slots: Slots of each channel, shape (channels, slots per channel).

    Raises:
        ValueError: If ``slots`` does not have two dimensions, or a slot is negative or used twice.
    """

    layer: str
    side: Side
    slots: Slots

    def __post_init__(self) -> None:
        slots = np.array(self.slots, dtype=np.int64)
        if slots.ndim != 2 or slots.size == 0 or slots.min() < 0:
            raise ValueError(
                f"the {self.side} slots of layer {self.layer!r} must be non-negative, with a row "
                f"for each channel; their shape is {slots.shape}"
            )
        if len(np.unique(slots)) != slots.size:
            raise ValueError(f"a slot of layer {self.layer!r} ({self.side}) is given twice")
        object.__setattr__(self, "slots", slots)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Place):
            return NotImplemented
        same = (self.layer, self.side) == (other.layer, other.side)
        return same and np.array_equal(self.slots, other.slots)

    def __hash__(self) -> int:
        return hash((self.layer, self.side, self.slots.shape))


@dataclass(frozen=True)
class ChannelSpace:
    """Channels that several layers share and that are kept or removed together.

    Layer names are those of ``torch.nn.Module.named_modules``. If a residual addition ties the
    outputs of several layers, all these layers produce the same space. A layer can be a member of
    several spaces, each with its own slots (:class:`Place`).

    Args:
        name: Name of the space.
        channels: Current number of channels.
        producers: Layers whose output channels form the space.
        consumers: Layers whose input channels form the space.
        followers: Layers between producers and consumers that process each channel separately
            (batch norm, depthwise convolution, PReLU).
        places: Slots of the space in those layers where it does not fill the whole side in order.

    Raises:
        ValueError: If the space has no channels, no producer or no consumer, or a place does not
            fit it.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    followers: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"space {self.name!r}: channels={self.channels} must be at least 1")
        for role in ("producers", "consumers"):
            if not getattr(self, role):
                raise ValueError(f"space {self.name!r} has no {role}")
        for place in self.places:
            if place.layer not in self.members or len(place.slots) != self.channels:
                raise ValueError(
                    f"space {self.name!r}: the place of layer {place.layer!r} must be of a member "
                    f"and have {self.channels} rows, not {len(place.slots)}"
                )

    @property
    def tied(self) -> bool:
        """Whether several layers produce the space (a trunk); scope ``inner`` excludes it."""
        return len(self.producers) > 1

    @property
    def members(self) -> tuple[str, ...]:
        """All layers that change when the space is cut."""
        return self.producers + self.followers + self.consumers

    def place(self, layer: str, side: Side) -> Place | None:
        """The explicit place of a layer; None if the space fills the side in order."""
        for place in self.places:
            if place.layer == layer and place.side == side:
                return place
        return None

    def slots(self, layer: str, side: Side, size: int) -> Slots:
        """Slots of each channel in a layer, shape (channels, slots per channel).

        Args:
            layer: Name of a member.
            side: Side of the layer.
            size: Number of slots that the layer has on this side.

        Raises:
            ValueError: If the space cannot fill this number of slots.
        """
        place = self.place(layer, side)
        if place is not None:
            if place.slots.max() >= size:
                raise ValueError(
                    f"space {self.name!r}: layer {layer!r} has {size} {side} slots, but the space "
                    f"is at slot {place.slots.max()}"
                )
            return place.slots
        if size % self.channels:
            raise ValueError(
                f"space {self.name!r}: layer {layer!r} has {size} channels, but the space has "
                f"{self.channels}"
            )
        return np.arange(size).reshape(self.channels, -1)


def iterate_roles(spaces: Sequence[ChannelSpace]) -> Iterator[tuple[str, str, ChannelSpace]]:
    """Yield (layer name, role, space) for all layers of all spaces.

    The roles are ``producers``, ``followers`` and ``consumers``.
    """
    for space in spaces:
        for role in ("producers", "followers", "consumers"):
            for layer in getattr(space, role):
                yield layer, role, space


def iterate_sides(spaces: Sequence[ChannelSpace]) -> Iterator[tuple[str, Side, ChannelSpace]]:
    """Yield (layer name, side, space) for all layers of all spaces; a follower has both sides."""
    for layer, role, space in iterate_roles(spaces):
        for side in _SIDES[role]:
            yield layer, side, space


def check_masks(spaces: Sequence[ChannelSpace], masks: Masks) -> None:
    """Check that masks fit their spaces.

    Raises:
        ValueError: If a space is unknown, a mask has the wrong shape, or a mask keeps no channel.
    """
    by_name = {space.name: space for space in spaces}
    for name, mask in masks.items():
        if name not in by_name:
            raise ValueError(f"no space is named {name!r}; known: {', '.join(by_name)}")
        if np.shape(mask) != (by_name[name].channels,):
            raise ValueError(
                f"space {name!r}: the mask has shape {np.shape(mask)}, "
                f"expected ({by_name[name].channels},)"
            )
        if not np.any(mask):
            raise ValueError(f"space {name!r}: the mask keeps no channel")


def cut_spaces(spaces: Sequence[ChannelSpace], masks: Masks) -> tuple[ChannelSpace, ...]:
    """Return the spaces of a network after :func:`prune_gym.pruning.dense` with ``masks``."""
    removed: dict[tuple[str, Side], list[Slots]] = {}
    for space in spaces:
        if space.name in masks:
            for place in space.places:
                gone = place.slots[~np.asarray(masks[space.name], dtype=bool)].ravel()
                removed.setdefault((place.layer, place.side), []).append(gone)
    return tuple(_cut_space(space, masks, removed) for space in spaces)


def _cut_space(
    space: ChannelSpace, masks: Masks, removed: Mapping[tuple[str, Side], list[Slots]]
) -> ChannelSpace:
    """Cut one space, and number its slots anew; ``removed`` holds the slots that are gone."""
    mask = masks.get(space.name)
    if mask is None and not any((p.layer, p.side) in removed for p in space.places):
        return space
    kept = np.arange(space.channels) if mask is None else np.flatnonzero(mask)
    places = []
    for place in space.places:
        slots = place.slots[kept]
        gone = np.sort(np.concatenate(removed.get((place.layer, place.side), [slots[:0, 0]])))
        places.append(replace(place, slots=slots - np.searchsorted(gone, slots)))
    return replace(space, channels=len(kept), places=tuple(places))


def legal_mask(
    mask: npt.ArrayLike, norms: npt.NDArray[np.floating], min_keep: int = 1, round_to: int = 1
) -> npt.NDArray[np.bool_]:
    """Return the nearest mask that the hardware rules allow.

    Filters are added back in the order of their norms, largest first.

    Args:
        mask: Mask with one entry per filter, non-zero to keep the filter. Shape (channels,).
        norms: Norms of the filters. Shape (channels,).
        min_keep: Minimum number of kept filters; a layer with fewer filters keeps all.
        round_to: Divisor of the number of kept filters. The number is rounded up to a multiple, but
            not beyond the number of filters.

    Returns:
        A boolean mask of shape (channels,) that keeps at least one filter.

    Raises:
        ValueError: If ``min_keep`` or ``round_to`` is less than 1, or the shapes differ.
    """
    if min_keep < 1 or round_to < 1:
        raise ValueError(f"min_keep={min_keep} and round_to={round_to} must be at least 1")
    kept = np.asarray(mask).astype(bool)
    if kept.shape != np.shape(norms):
        raise ValueError(
            f"the mask has shape {kept.shape}, but the norms have shape {np.shape(norms)}"
        )
    wanted = max(int(kept.sum()), min_keep)
    wanted = min(-(-wanted // round_to) * round_to, kept.size)
    missing = wanted - int(kept.sum())
    if missing > 0:
        order = np.lexsort((np.arange(kept.size), -np.asarray(norms)))
        candidates = [index for index in order if not kept[index]]
        kept = kept.copy()
        kept[candidates[:missing]] = True
    return kept
