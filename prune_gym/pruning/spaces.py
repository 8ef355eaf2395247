"""Channel spaces: declarations of the channels that must be pruned together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

Masks = Mapping[str, npt.NDArray[np.bool_]]
"""Boolean array per space with one entry per channel; True keeps the channel."""


@dataclass(frozen=True)
class ChannelSpace:
    """Channels that several layers share and that are kept or removed together.

    Layer names are those of ``torch.nn.Module.named_modules``. If a residual addition ties the
    outputs of several layers, all these layers produce the same space.

    Args:
        name: Name of the space.
        channels: Current number of channels.
        producers: Layers whose output channels form the space.
        consumers: Layers whose input channels form the space.
        followers: Layers between producers and consumers that process each channel separately
            (batch norm, depthwise convolution, PReLU).

    Raises:
        ValueError: If the space has no channels, no producer or no consumer.
    """

    name: str
    channels: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    followers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise ValueError(f"space {self.name!r}: channels={self.channels} must be at least 1")
        for role in ("producers", "consumers"):
            if not getattr(self, role):
                raise ValueError(f"space {self.name!r} has no {role}")

    @property
    def tied(self) -> bool:
        """Whether several layers produce the space (a trunk); scope ``inner`` excludes it."""
        return len(self.producers) > 1

    @property
    def members(self) -> tuple[str, ...]:
        """All layers that change when the space is cut."""
        return self.producers + self.followers + self.consumers


def iterate_roles(spaces: Sequence[ChannelSpace]) -> Iterator[tuple[str, str, ChannelSpace]]:
    """Yield (layer name, role, space) for all layers of all spaces.

    The roles are ``producers``, ``followers`` and ``consumers``.
    """
    for space in spaces:
        for role in ("producers", "followers", "consumers"):
            for layer in getattr(space, role):
                yield layer, role, space


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
    return tuple(
        replace(space, channels=int(np.sum(masks[space.name]))) if space.name in masks else space
        for space in spaces
    )


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
