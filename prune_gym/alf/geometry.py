"""Closed-form shapes of a network whose convolutions may each have become codes and expansion."""

from collections.abc import Sequence
from dataclasses import replace

from prune_gym.alf.convert import CODE, EXPANSION, code_space_name
from prune_gym.pruning import ChannelSpace, Geometry
from prune_gym.pruning.geometry import Counts, LayerGeometry


def code_space(layer: LayerGeometry, geometry: Geometry, norm: str | None) -> ChannelSpace:
    """The space of a convolution's codes, before there are any: its own filters.

    Args:
        layer: The convolution.
        geometry: Of the network.
        norm: The batch norm that reads the convolution, or None.

    Returns:
        A space that only this convolution writes, read by what reads its outputs behind it.
    """
    names = [other.name for other in geometry.layers]
    written = next(space for space in geometry.spaces if space.name == layer.out_space)
    behind = set(names[names.index(layer.name) + 1 :])
    readers = tuple(name for name in written.consumers if name in behind)
    return ChannelSpace(
        code_space_name(layer.name),
        layer.out_channels,
        (layer.name,),
        readers or written.consumers,
        tuple(name for name in (norm,) if name in written.followers),
    )


class CodeGeometry(Geometry):
    """:class:`prune_gym.pruning.Geometry` with counts of codes beside those of channels.

    A convolution runs as two where that is fewer MACs (and weights); with more codes than that,
    they and the expansion are multiplied back into one, which is as large as the convolution was
    (:func:`prune_gym.alf.pays`).

    Args:
        base: Of the network without codes.
        codes: For each convolution that may be taken apart its code space.
    """

    def __init__(self, base: Geometry, codes: Sequence[ChannelSpace]) -> None:
        self.spaces = (*base.spaces, *codes)
        self.layers = base.layers
        self._fixed, self._per_channel = base._fixed, base._per_channel
        self._names = {space.producers[0]: space.name for space in codes}

    def numbered(self, counts: Counts) -> Sequence[tuple[int, LayerGeometry]]:
        """See :meth:`Geometry.numbered`; a convolution and the two that it became have three."""
        found: list[tuple[int, LayerGeometry]] = []
        for index, layer in enumerate(self.layers):
            name = self._names.get(layer.name)
            pair = () if name is None else _pair(layer, name)
            if pair and sum(each.macs(counts) for each in pair) < layer.macs(counts):
                found += [(3 * index + 1 + part, each) for part, each in enumerate(pair)]
            else:
                found.append((3 * index, layer))
        return found


def _pair(layer: LayerGeometry, space: str) -> tuple[LayerGeometry, LayerGeometry]:
    code = replace(layer, name=f"{layer.name}.{CODE}", out_space=space, bias=False)
    expansion = replace(
        layer,
        name=f"{layer.name}.{EXPANSION}",
        in_space=space,
        repeat=1,
        kernel=(1, 1),
        stride=1,
        padding=0,
        in_size=layer.out_size,
    )
    return code, expansion
