"""Pruning rules: how each kind of layer is cut and masked, and checks of spaces against them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_gym.pruning.spaces import ChannelSpace, iterate_roles

Index = Tensor | None
"""Indices of the kept channels as an int64 tensor; None if all are kept."""


class ChannelPad(nn.Module):
    """Parameter-free shortcut that subsamples pixels and pads channels with zeros.

    This is "option A" of He et al. 2016 (CVPR, section 4.2), stored as a channel map so that it can
    be pruned: output channel ``i`` is input channel ``source[i]``, or zero if ``source[i]`` is -1.

    Args:
        in_channels: Input channels.
        out_channels: Output channels; the input channels are in the middle.
        stride: Distance between the kept pixels.
    """

    source: Tensor

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.stride = stride
        source = torch.full((out_channels,), -1)
        first = (out_channels - in_channels) // 2
        source[first : first + in_channels] = torch.arange(in_channels)
        # The map is structure, not a weight: pruning recomputes it from the kept channels.
        self.register_buffer("source", source, persistent=False)

    @property
    def out_channels(self) -> int:
        """Output channels."""
        return self.source.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, ceil(H/stride), ceil(W/stride))."""
        x = x[:, :, :: self.stride, :: self.stride]
        # Add one zero channel at the end; all -1 entries refer to it.
        x = nn.functional.pad(x, (0, 0, 0, 0, 0, 1))
        source = torch.where(self.source < 0, self.in_channels, self.source)
        return x.index_select(1, source)


@dataclass(frozen=True)
class LayerRule:
    """Functions that cut and mask one kind of layer.

    Args:
        channels: Function of (module, role) that returns the layer's channels in that role.
        cut: Function that reduces the module to the kept output and input channels, in place.
        mask: Function that zeroes the removed output and input channels, in place.
    """

    channels: Callable[[nn.Module, str], int]
    cut: Callable[[nn.Module, Index, Index], None]
    mask: Callable[[nn.Module, Tensor | None, Tensor | None], None]


def _set(module: nn.Module, name: str, index: Tensor, dim: int = 0) -> None:
    """Replace a parameter or buffer with its selected entries, as a new leaf."""
    old = getattr(module, name, None)
    if old is None:
        return
    new = old.detach().index_select(dim, index.to(old.device))
    last = old.dim() == 4 and not old.is_contiguous()
    new = new.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))
    else:
        setattr(module, name, new)


def expand(index: Tensor, repeat: int) -> Tensor:
    """Feature indices of flattened channels with ``repeat`` features per channel."""
    return (index[:, None] * repeat + torch.arange(repeat)).flatten()


def is_depthwise(module: nn.Module) -> bool:
    """Whether a layer is a depthwise convolution; a 1-channel convolution also counts as one."""
    return (
        isinstance(module, nn.Conv2d) and module.groups == module.in_channels == module.out_channels
    )


def _conv_channels(module: nn.Module, role: str) -> int:
    assert isinstance(module, nn.Conv2d)
    if role == "followers" and not is_depthwise(module):
        raise ValueError("only a depthwise convolution can be a follower")
    if role != "followers" and module.groups != 1:
        raise ValueError(
            f"groups={module.groups} is not supported; depthwise convolutions must be followers"
        )
    return module.in_channels if role == "consumers" else module.out_channels


def _conv_cut(module: nn.Module, out: Index, inp: Index) -> None:
    assert isinstance(module, nn.Conv2d)
    if out is not None:
        _set(module, "weight", out)
        _set(module, "bias", out)
        if is_depthwise(module) and inp is None:
            # A layer with one channel and one group also has one filter per channel.
            module.groups = module.in_channels = out.numel()
        module.out_channels = out.numel()
    if inp is not None:
        _set(module, "weight", inp, dim=1)
        module.in_channels = inp.numel()


def _weight_mask(module: nn.Module, out: Tensor | None, inp: Tensor | None) -> None:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    if out is not None:
        weight.data[~out] = 0
        if isinstance(bias, Tensor):
            bias.data[~out] = 0
    if inp is not None:
        repeat = weight.shape[1] // inp.numel()
        weight.data[:, ~inp.repeat_interleave(repeat)] = 0


def _linear_channels(module: nn.Module, role: str) -> int:
    assert isinstance(module, nn.Linear)
    if role == "followers":
        raise ValueError("a Linear layer cannot be a follower")
    return module.in_features if role == "consumers" else module.out_features


def _linear_cut(module: nn.Module, out: Index, inp: Index) -> None:
    assert isinstance(module, nn.Linear)
    if out is not None:
        _set(module, "weight", out)
        _set(module, "bias", out)
        module.out_features = out.numel()
    if inp is not None:
        _set(module, "weight", inp, dim=1)
        module.in_features = inp.numel()


def _follower_channels(module: nn.Module, role: str) -> int:
    if role != "followers":
        kind = "PReLU" if isinstance(module, nn.PReLU) else "batch norm"
        raise ValueError(f"a {kind} can only be a follower")
    return int(getattr(module, _COUNT[type(module)]))


def _follower_cut(module: nn.Module, out: Index, inp: Index) -> None:
    if out is not None:
        for name in ("weight", "bias", "running_mean", "running_var"):
            _set(module, name, out)
        setattr(module, _COUNT[type(module)], out.numel())


def _norm_mask(module: nn.Module, out: Tensor | None, inp: Tensor | None) -> None:
    # If only the weight were zeroed, a removed channel would still add the bias.
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    if out is None:
        return
    if not module.affine:
        raise ValueError("a batch norm without weight and bias cannot be masked; cut it instead")
    module.weight.data[~out] = 0
    module.bias.data[~out] = 0


def _pad_channels(module: nn.Module, role: str) -> int:
    assert isinstance(module, ChannelPad)
    if role == "followers":
        raise ValueError("a ChannelPad cannot be a follower; it must be a producer or consumer")
    return module.in_channels if role == "consumers" else module.out_channels


def _pad_cut(module: nn.Module, out: Index, inp: Index) -> None:
    assert isinstance(module, ChannelPad)
    if out is not None:
        _set(module, "source", out)
    if inp is not None:
        place = torch.full((module.in_channels + 1,), -1)
        place[inp] = torch.arange(inp.numel())
        # The last entry of `place` is -1, so a zero channel remains a zero channel.
        module.source = place.to(module.source.device)[module.source]
        module.in_channels = inp.numel()


def _pad_mask(module: nn.Module, out: Tensor | None, inp: Tensor | None) -> None:
    assert isinstance(module, ChannelPad)
    if out is not None:
        module.source[~out] = -1
    if inp is not None:
        removed = torch.cat([~inp, torch.tensor([True])]).to(module.source.device)
        module.source[removed[module.source]] = -1


def _nothing(module: nn.Module, out: Tensor | None, inp: Tensor | None) -> None:
    """Do nothing: the PReLU of zero is zero."""


_COUNT: dict[type[nn.Module], str] = {
    nn.BatchNorm1d: "num_features",
    nn.BatchNorm2d: "num_features",
    nn.PReLU: "num_parameters",
}
_NORM = LayerRule(_follower_channels, _follower_cut, _norm_mask)
RULES: dict[type[nn.Module], LayerRule] = {
    nn.Conv2d: LayerRule(_conv_channels, _conv_cut, _weight_mask),
    nn.Linear: LayerRule(_linear_channels, _linear_cut, _weight_mask),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.PReLU: LayerRule(_follower_channels, _follower_cut, _nothing),
    ChannelPad: LayerRule(_pad_channels, _pad_cut, _pad_mask),
}


def check_spaces(network: nn.Module, spaces: Sequence[ChannelSpace]) -> None:
    """Check that channel spaces fit a network.

    Args:
        network: The network.
        spaces: Channel spaces of the network.

    Raises:
        ValueError: If a name is used twice, a layer does not exist, a layer and its space have
            different numbers of channels, or a kind of layer does not support its role.
    """
    modules = dict(network.named_modules())
    names: set[str] = set()
    seen: dict[tuple[str, str], str] = {}
    for layer, role, space in iterate_roles(spaces):
        if layer not in modules:
            raise ValueError(f"space {space.name!r}: the network has no layer {layer!r}")
        if (layer, role) in seen:
            raise ValueError(
                f"layer {layer!r} is in the {role} of both {seen[layer, role]!r} and {space.name!r}"
            )
        seen[layer, role] = space.name
        _check_layer(layer, modules[layer], role, space)
    for space in spaces:
        if space.name in names:
            raise ValueError(f"two spaces are named {space.name!r}")
        names.add(space.name)


def _check_layer(name: str, module: nn.Module, role: str, space: ChannelSpace) -> None:
    """Check one layer against its role in a space."""
    where = f"space {space.name!r}, {role} {name!r}"
    if type(module) not in RULES:
        known = ", ".join(kind.__name__ for kind in RULES)
        raise ValueError(f"{where}: no rule cuts a {type(module).__name__}; supported: {known}")
    try:
        channels = RULES[type(module)].channels(module, role)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    # A Linear layer after a flatten has several features per channel.
    flattened = isinstance(module, nn.Linear) and role == "consumers"
    fits = channels % space.channels == 0 if flattened else channels == space.channels
    if not fits:
        raise ValueError(
            f"{where}: the layer has {channels} channels, but the space has {space.channels}"
        )
