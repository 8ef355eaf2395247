"""Calls that copy elements of an activation to other places."""

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_gym.pruning.labels import compact, varying
from prune_gym.pruning.operations import operation

Structure = Any
"""A tensor, or a tuple or list of structures, as a call returns it."""

Reshape = tuple[Callable[..., Tensor], tuple[Any, ...]]
"""A function and its arguments behind the tensor."""


@dataclass(frozen=True)
class Chain:
    """Moves of elements since the last activation with channels in one dimension.

    Args:
        base: The call that returned this activation.
        ids: For each element, its index in the flattened activation of ``base``.
    """

    base: fx.Node
    ids: Structure


def run_move(node: fx.Node, module: nn.Module | None, values: Mapping[fx.Node, Any]) -> Structure:
    """Run a call on other tensors than those of the forward pass, such as labels.

    Args:
        node: The call.
        module: The called module, if any.
        values: Results of the calls that the call reads.
    """
    args: Any = fx.node.map_arg(node.args, lambda source: values[source])
    kwargs: Any = fx.node.map_arg(node.kwargs, lambda source: values[source])
    if operation(node, module)[0] == "channel_shuffle":
        shuffle = nn.ChannelShuffle(args[1]) if module is None else module
        return shuffle(args[0].double()).long()  # torch shuffles no integers
    if module is not None:
        return _compacted(module(*args, **kwargs))
    if node.op == "call_method":
        method = "reshape" if node.target == "view" else str(node.target)
        return _compacted(getattr(args[0], method)(*args[1:], **kwargs))
    assert callable(node.target)
    return _compacted(node.target(*args, **kwargs))


def _compacted(found: Structure) -> Structure:
    if isinstance(found, Tensor):
        return compact(found)
    return tuple(_compacted(part) for part in found)


def leaves_dims(node: fx.Node, size: int, dims: list[int]) -> bool:
    """Whether a selection by number leaves given dimensions of its input as they are.

    Args:
        node: The selection.
        size: Number of dimensions of the input.
        dims: Dimensions that must not change.
    """
    name = operation(node, None)[0]
    if name != "getitem":
        place = 1 if name in ("select", "narrow", "unbind", "index_select") else 2
        default = 0 if name in ("chunk", "split", "tensor_split", "unbind") else None
        given = node.args[place] if len(node.args) > place else default
        dim = node.kwargs.get("dim", node.kwargs.get("axis", given))
        return isinstance(dim, int) and dim % size not in dims
    index = node.args[1]
    parts = list(index) if isinstance(index, tuple) else [index]
    if any(not isinstance(part, int | slice | type(Ellipsis) | type(None)) for part in parts):
        return False
    dim = 0
    consumed = sum(isinstance(part, int | slice) for part in parts)
    for part in parts:
        if part is Ellipsis:
            dim += size - consumed
        elif part is not None:
            if dim in dims and part != slice(None):
                return False
            dim += 1
    return True


def selection(base: Tensor, ids: Structure) -> tuple[int, Tensor] | None:
    """The dimension and the indices of a selection of whole channels; None for another move.

    Args:
        base: Labels of the activation at the start of a chain.
        ids: Where each element comes from, see :class:`Chain`.
    """
    dims = varying(base)
    if not isinstance(ids, Tensor) or len(dims) != 1 or ids.dim() != base.dim():
        return None
    dim = dims[0]
    step = math.prod(base.shape[dim + 1 :])
    index = ids.movedim(dim, 0).flatten(1)[:, 0] // step % base.shape[dim]
    expected = torch.arange(base.numel()).reshape(base.shape).index_select(dim, index)
    return (dim, index) if torch.equal(expected, ids) else None


def has_sizes(node: fx.Node, dims: list[int]) -> bool:
    """Whether a reshape gives the size of one of these dimensions of its result as a number."""
    sizes: Any = (*node.args[1:], *node.kwargs.values())
    if sizes and isinstance(sizes[0], tuple | list):
        sizes = sizes[0]
    given = [sizes[dim] for dim in dims if dim < len(sizes)]
    return any(isinstance(size, int) and size > 1 for size in given)


def reshape_without_sizes(before: tuple[int, ...], after: tuple[int, ...]) -> Reshape | None:
    """A reshape that flattens dimensions or adds some at the end, without naming their sizes."""
    for start in range(1, len(before)):
        for end in range(start, len(before)):
            merged = math.prod(before[start : end + 1])
            if (*before[:start], merged, *before[end + 1 :]) == after:
                return torch.flatten, (start, end)
    added = len(after) - len(before)
    if added > 0 and after == before + (1,) * added:
        return operator.getitem, ((Ellipsis, *(None,) * added),)
    return None
