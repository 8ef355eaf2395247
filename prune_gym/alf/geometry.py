"""Shapes and MACs of networks whose convolutions may be codes and an expansion."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from prune_gym.alf.convert import CODE, EXPANSION, code_space_name, convertible
from prune_gym.batches import Images
from prune_gym.pruning import ChannelSpace, Geometry
from prune_gym.pruning.layer_geometry import Counts, LayerGeometry, Width


def code_spaces(
    module: nn.Module, geometry: Geometry, images: Images, every: bool
) -> tuple[ChannelSpace, ...]:
    """The future code spaces of the convolutions to compress, from input to output.

    There is one space per ungrouped convolution with a kernel larger than 1 that is not yet
    compressed. Unless ``every`` is set, convolutions that read the images are left out. A pass over
    the first image finds the batch norm after each convolution.
    """
    norms, dense = _norms(module, images[:1]), set(convertible(module))
    return tuple(
        _code_space(layer, geometry, norms.get(layer.name))
        for layer in geometry.layers
        if layer.name in dense
        and layer.outputs.space is not None
        # A convolution that makes codes is not compressed again.
        and layer.outputs.space != code_space_name(layer.name.rpartition(".")[0])
        and (every or bool(layer.inputs.parts))
    )


def _code_space(layer: LayerGeometry, geometry: Geometry, norm: str | None) -> ChannelSpace:
    """The future code space of a convolution; ``norm``: name of the batch norm after it.

    The space has one channel per filter. Its consumers are the later layers that read the
    convolution's outputs.
    """
    names = [other.name for other in geometry.layers]
    written = next(space for space in geometry.spaces if space.name == layer.outputs.space)
    later = set(names[names.index(layer.name) + 1 :])
    readers = tuple(name for name in written.consumers if name in later)
    return ChannelSpace(
        code_space_name(layer.name),
        layer.out_channels,
        (layer.name,),
        readers or written.consumers,
        tuple(name for name in (norm,) if name in written.followers),
    )


class CodeGeometry(Geometry):
    """:class:`prune_gym.pruning.Geometry` with counts of codes in addition to channels.

    A convolution runs as two layers if these take fewer MACs and weights. With more codes, codes
    and expansion are multiplied back into one convolution of the original size
    (:func:`prune_gym.alf.pays`).

    Args:
        base: Geometry of the network without codes.
        codes: Code space of each convolution that may be compressed.
    """

    def __init__(self, base: Geometry, codes: Sequence[ChannelSpace]) -> None:
        self.spaces = (*base.spaces, *codes)
        self.layers = base.layers
        self._fixed, self._per_channel = base._fixed, base._per_channel
        self._names = {space.producers[0]: space.name for space in codes}

    def numbered(self, counts: Counts) -> Sequence[tuple[int, LayerGeometry]]:
        """See :meth:`Geometry.numbered`; a convolution and its two parts have three numbers."""
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
    codes = Width(layer.out_channels, ((space, layer.out_channels, 1),))
    code = replace(layer, name=f"{layer.name}.{CODE}", outputs=codes, bias=False)
    expansion = replace(
        layer,
        name=f"{layer.name}.{EXPANSION}",
        inputs=codes,
        kernel=(1, 1),
        stride=(1, 1),
        padding=((0, 0), (0, 0)),
        dilation=(1, 1),
        in_size=layer.out_size,
    )
    return code, expansion


def _norms(module: nn.Module, images: Tensor) -> dict[str, str]:
    """Find the batch norm after each convolution, by the name of the convolution."""
    written: dict[int, str] = {}
    kept: list[Tensor] = []
    found: dict[str, str] = {}

    def note(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(layer, nn.Conv2d):
            kept.append(output)  # so that no other tensor gets its id
            written[id(output)] = name
        elif id(inputs[0]) in written:
            found[written[id(inputs[0])]] = name

    handles = [
        layer.register_forward_hook(
            lambda layer, inputs, output, name=name: note(name, layer, inputs, output)
        )
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        with torch.no_grad():
            module(images)
    finally:
        for handle in handles:
            handle.remove()
    return found


def block_macs(layer: LayerGeometry, codes: int) -> int:
    """MACs of a convolution's block with this number of codes, for one image."""
    each = layer.in_channels * layer.kernel[0] * layer.kernel[1] + layer.out_channels
    return codes * each * layer.out_size[0] * layer.out_size[1]


def update_macs(layer: LayerGeometry) -> int:
    """MACs of one update of a block's autoencoder, ``6 * n^2 * r``.

    Encoder and decoder are n x n and act on n filters of r weights; the backward pass takes twice
    the forward pass.
    """
    row = layer.in_channels * layer.kernel[0] * layer.kernel[1]
    return 6 * layer.out_channels**2 * row
