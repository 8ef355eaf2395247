"""Pruning rules: how each kind of layer is cut and masked.

The slots of a layer are its output and input channels (features of a dense layer). A rule cuts or
masks any subset of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prune_gym.pruning.channel_map import ChannelMap, ChannelPad
from prune_gym.pruning.spaces import Side

Keep = Tensor | None
"""Boolean tensor with one entry per slot, True to keep the slot; None if all are kept."""

Conv = nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
Transposed = nn.ConvTranspose1d | nn.ConvTranspose2d
Norm = nn.BatchNorm1d | nn.BatchNorm2d | nn.InstanceNorm1d | nn.InstanceNorm2d | nn.GroupNorm


@dataclass(frozen=True)
class LayerRule:
    """Functions that cut and mask one kind of layer.

    Args:
        roles: Roles that the layer can have in a space.
        slots: Function of (module, side) that returns the number of slots.
        cut: Function that reduces the module to the kept output and input slots, in place.
        mask: Function that zeroes the removed output and input slots, in place.
    """

    roles: tuple[str, ...]
    slots: Callable[[nn.Module, Side], int]
    cut: Callable[[nn.Module, Keep, Keep], None]
    mask: Callable[[nn.Module, Keep, Keep], None]


def groups_of(module: nn.Module) -> int:
    """Number of groups of a layer; 1 for a layer that has no groups."""
    groups = module.num_groups if isinstance(module, nn.GroupNorm) else getattr(module, "groups", 1)
    return int(groups)


def channel_dim(module: nn.Module, output: Tensor) -> int:
    """Dimension of a layer's output that holds its output slots."""
    if isinstance(module, nn.Linear):
        return output.dim() - 1
    return module.dim % output.dim() if isinstance(module, ChannelMap) else 1


def is_depthwise(module: nn.Module) -> bool:
    """Whether a layer is a depthwise convolution; a 1-channel convolution also counts as one."""
    return isinstance(module, Conv) and module.groups == module.in_channels == module.out_channels


def filters(module: nn.Conv1d | nn.Conv2d | Transposed | nn.Linear) -> Tensor:
    """The weights that produce each output: shape (outputs, weights of an output)."""
    weight = module.weight.detach()
    return (_swapped(module) if isinstance(module, Transposed) else weight).flatten(1)


def readers(module: nn.Conv1d | nn.Conv2d | Transposed | nn.Linear) -> Tensor:
    """The weights that read each input: shape (inputs, outputs that read it, kernel positions)."""
    weight = module.weight.detach()
    by_input = weight if isinstance(module, Transposed) else _swapped(module)
    return by_input.flatten(2) if by_input.dim() > 2 else by_input[:, :, None]


def _swapped(module: nn.Module) -> Tensor:
    """A weight of shape (rows, columns of a group, ...) as (columns, rows of a group, ...)."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    groups = groups_of(module)
    return weight.detach().unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)


def _replace(module: nn.Module, name: str, select: Callable[[Tensor], Tensor]) -> None:
    """Replace a parameter or buffer with its selected entries, as a new leaf."""
    old = getattr(module, name, None)
    if old is None:
        return
    new = select(old.detach())
    last = old.dim() == 4 and not old.is_contiguous()
    new = new.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    if isinstance(old, nn.Parameter):
        setattr(module, name, nn.Parameter(new, requires_grad=old.requires_grad))
    else:
        setattr(module, name, new)


def _index(keep: Tensor, like: Tensor) -> Tensor:
    return keep.nonzero().flatten().to(like.device)


def _select(module: nn.Module, name: str, keep: Keep, dim: int = 0) -> None:
    """Keep entries of a parameter or buffer along a dimension."""
    if keep is not None:
        _replace(module, name, lambda old: old.index_select(dim, _index(keep, old)))


def _conv_slots(module: nn.Module, side: Side) -> int:
    assert isinstance(module, Conv)
    return module.in_channels if side == "in" else module.out_channels


def _conv_cut(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, Conv)
    # The weight of a transposed convolution has the inputs first.
    rows, columns = (inp, out) if isinstance(module, Transposed) else (out, inp)
    if module.groups == 1:
        _select(module, "weight", rows)
        _select(module, "weight", columns, dim=1)
    else:
        module.groups = _cut_groups(module, rows, columns)
    _select(module, "bias", out)
    if out is not None:
        module.out_channels = int(out.sum())
    if inp is not None:
        module.in_channels = int(inp.sum())


def _cut_groups(module: Conv, rows: Keep, columns: Keep) -> int:
    """Cut the weight of a grouped convolution, and return the number of groups that remain.

    The weight has shape (rows, columns of a group, ...).
    """
    groups, each = module.groups, module.weight.shape[1]
    row = _by_group(rows, module.weight.shape[0], groups)
    column = _by_group(columns, groups * each, groups)
    alive = [g for g in range(groups) if len(row[g]) and len(column[g])]
    sizes = {(len(row[g]), len(column[g])) for g in alive}
    half = any(len(row[g]) != 0 or len(column[g]) != 0 for g in set(range(groups)) - set(alive))
    if len(sizes) != 1 or half:
        raise ValueError(
            f"a convolution of {groups} groups must keep equally many channels in each group"
        )
    chosen_rows = torch.cat([row[g] for g in alive])
    chosen_columns = torch.stack([column[g] - g * each for g in alive])
    per_row = chosen_columns.repeat_interleave(len(row[alive[0]]), dim=0)
    _replace(
        module,
        "weight",
        lambda old: old[chosen_rows.to(old.device)[:, None], per_row.to(old.device)],
    )
    return len(alive)


def _by_group(keep: Keep, slots: int, groups: int) -> tuple[Tensor, ...]:
    """Numbers of the kept slots of each group."""
    kept = torch.arange(slots) if keep is None else keep.nonzero().flatten().cpu()
    counts = torch.bincount(kept // (slots // groups), minlength=groups)
    return kept.split(counts.tolist())


def _conv_mask(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, Conv)
    rows, columns = (inp, out) if isinstance(module, Transposed) else (out, inp)
    weight = module.weight.data
    if rows is not None:
        weight[~rows] = 0
    if columns is not None:
        by_group = _swapped(module).clone()
        by_group[~columns] = 0
        weight.copy_(by_group.unflatten(0, (module.groups, -1)).transpose(1, 2).flatten(0, 1))
    if out is not None and module.bias is not None:
        module.bias.data[~out] = 0


def _linear_slots(module: nn.Module, side: Side) -> int:
    assert isinstance(module, nn.Linear)
    return module.in_features if side == "in" else module.out_features


def _linear_cut(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, nn.Linear)
    _select(module, "weight", out)
    _select(module, "bias", out)
    _select(module, "weight", inp, dim=1)
    module.out_features, module.in_features = module.weight.shape


def _linear_mask(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, nn.Linear)
    if out is not None:
        module.weight.data[~out] = 0
        if module.bias is not None:
            module.bias.data[~out] = 0
    if inp is not None:
        module.weight.data[:, ~inp] = 0


_COUNT: dict[type[nn.Module], str] = {
    nn.BatchNorm1d: "num_features",
    nn.BatchNorm2d: "num_features",
    nn.InstanceNorm1d: "num_features",
    nn.InstanceNorm2d: "num_features",
    nn.GroupNorm: "num_channels",
    nn.PReLU: "num_parameters",
}


def _follower_slots(module: nn.Module, side: Side) -> int:
    return int(getattr(module, _COUNT[type(module)]))


def _follower_cut(module: nn.Module, out: Keep, inp: Keep) -> None:
    if out is None:
        return
    for name in ("weight", "bias", "running_mean", "running_var"):
        _select(module, name, out)
    if isinstance(module, nn.GroupNorm):
        sizes = out.unflatten(0, (module.num_groups, -1)).sum(1)
        size = module.num_channels // module.num_groups
        if not set(sizes.tolist()) <= {0, size}:
            raise ValueError(f"a norm of groups of {size} channels must keep or lose whole groups")
        module.num_groups = int((sizes > 0).sum())
    setattr(module, _COUNT[type(module)], int(out.sum()))


def _norm_mask(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, Norm)
    # A norm without weights changes each channel by itself; the consumers' columns are zero.
    if out is not None and module.weight is not None:
        # If only the weight were zeroed, a removed channel would still add the bias.
        module.weight.data[~out] = 0
        module.bias.data[~out] = 0


def _map_slots(module: nn.Module, side: Side) -> int:
    assert isinstance(module, ChannelMap)
    return module.in_channels if side == "in" else module.out_channels


def _map_cut(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, ChannelMap)
    _select(module, "source", out)
    if inp is not None:
        place = torch.full((module.in_channels + 1,), -1)
        place[inp.nonzero().flatten()] = torch.arange(int(inp.sum()))
        # The last entry of `place` is -1, so a zero channel remains a zero channel.
        module.source = place.to(module.source.device)[module.source]
        module.in_channels = int(inp.sum())


def _map_mask(module: nn.Module, out: Keep, inp: Keep) -> None:
    assert isinstance(module, ChannelMap)
    if not module.pads:
        return  # consumers do not read the removed channels
    if out is not None:
        module.source[~out] = -1
    if inp is not None:
        removed = torch.cat([~inp, torch.tensor([True])]).to(module.source.device)
        module.source[removed[module.source]] = -1


def _nothing(module: nn.Module, out: Keep, inp: Keep) -> None:
    """Do nothing: the PReLU of zero is zero."""


_ENDS = ("producers", "consumers")
_ALL = (*_ENDS, "followers")
_CONV = LayerRule(_ALL, _conv_slots, _conv_cut, _conv_mask)
_NORM = LayerRule(("followers",), _follower_slots, _follower_cut, _norm_mask)
_MAP = LayerRule(_ALL, _map_slots, _map_cut, _map_mask)
RULES: dict[type[nn.Module], LayerRule] = {
    nn.Conv2d: _CONV,
    nn.Linear: LayerRule(_ENDS, _linear_slots, _linear_cut, _linear_mask),
    nn.BatchNorm1d: _NORM,
    nn.BatchNorm2d: _NORM,
    nn.PReLU: LayerRule(("followers",), _follower_slots, _follower_cut, _nothing),
    ChannelPad: LayerRule(_ENDS, _map_slots, _map_cut, _map_mask),
    ChannelMap: _MAP,
    nn.Conv1d: _CONV,
    nn.ConvTranspose1d: _CONV,
    nn.ConvTranspose2d: _CONV,
    nn.InstanceNorm1d: _NORM,
    nn.InstanceNorm2d: _NORM,
    nn.GroupNorm: _NORM,
}


def expand(index: Tensor, repeat: int) -> Tensor:
    """Feature indices of flattened channels with ``repeat`` features per channel."""
    return (index[:, None] * repeat + torch.arange(repeat)).flatten()
