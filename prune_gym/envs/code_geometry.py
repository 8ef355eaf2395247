"""Closed-form shapes of a network whose convolutions may each have become codes and expansion."""

from collections.abc import Sequence
from dataclasses import replace

from prune_gym.surgery import ChannelSpace, Geometry
from prune_gym.surgery.geometry import Counts, LayerGeometry

CODE, EXPANSION = "0", "1"
"""Names of the two convolutions within the layer that they took the place of."""


def is_compressible(layer: LayerGeometry) -> bool:
    """Whether ALF can take a layer apart: a dense convolution, kernel above 1, to a space."""
    dense = not (layer.linear or layer.depthwise)
    return dense and max(layer.kernel) > 1 and layer.out_space is not None


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
        f"{layer.name}.code",
        layer.out_channels,
        (layer.name,),
        readers or written.consumers,
        tuple(name for name in (norm,) if name in written.followers),
    )


class CodeGeometry(Geometry):
    """:class:`prune_gym.surgery.Geometry` with counts of codes beside those of channels.

    A convolution with fewer codes than pay runs as two; with that many or more, codes and
    expansion are multiplied back into one, which is as large as the convolution was.

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
        """See :meth:`Geometry.numbered`."""
        found: list[tuple[int, LayerGeometry]] = []
        for index, layer in enumerate(self.layers):
            name = self._names.get(layer.name)
            if name is not None and pays(layer, counts[name]):
                code, expansion = _pair(layer, name)
                found += [(3 * index + 1, code), (3 * index + 2, expansion)]
            else:
                found.append((3 * index, layer))
        return found


def pays(layer: LayerGeometry, codes: int) -> bool:
    """Whether so many codes and an expansion are fewer MACs (and weights) than the convolution.

    ``Cc < Ci * Co * K^2 / (Ci * K^2 + Co)``, for any stride, as the codes have its output size.
    """
    each = layer.in_channels * layer.kernel[0] * layer.kernel[1]
    return codes * (each + layer.out_channels) < layer.out_channels * each


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
