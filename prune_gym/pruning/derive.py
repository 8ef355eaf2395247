"""Derive the channel spaces of a network from its forward pass."""

import copy
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.pruning.check import shared_weights
from prune_gym.pruning.hooks import check_hooks
from prune_gym.pruning.propagate import Member, Propagation
from prune_gym.pruning.rewrite import cannot_rewrite, needed, rewritten
from prune_gym.pruning.rules import RULES, Conv
from prune_gym.pruning.spaces import ChannelSpace, Place, Side
from prune_gym.pruning.tracing import TraceError, as_module, in_mode, trace
from prune_gym.pruning.verify import InputShape, random_images, same_outputs, wrong_spaces

Slots = dict[tuple[str, Side], list[int]]
"""Slots of one channel in each layer."""


@dataclass(frozen=True)
class FixedChannels:
    """Output channels of a layer that cannot be pruned.

    Args:
        layer: Name of the layer.
        channels: Number of channels.
        reason: Why they stay.
    """

    layer: str
    channels: int
    reason: str


@dataclass(frozen=True)
class Derivation:
    """The channel spaces of a network.

    Args:
        module: The network itself, or an equal ``torch.fx.GraphModule`` with the network's layers
            in which calls that select channels by number are layers, too.
        spaces: Channel spaces of :attr:`module`, in the order of their first producers.
        fixed: Channels that stay whole, in the order of the layers.
    """

    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    fixed: tuple[FixedChannels, ...]


def derive(network: nn.Module, input_shape: InputShape, verify: bool = True) -> Derivation:
    """Derive and verify the channel spaces of a network.

    The forward pass is traced with :mod:`torch.fx` and run on random images. Every activation has
    a label for each element: additions tie labels, concatenations join them, and operations without
    a rule keep their channels whole. Channels that occur equally often in the same layers form one
    space (this project's choice). The spaces are then verified
    (:func:`prune_gym.pruning.verify_spaces`); those that fail the test stay whole.

    Args:
        network: The network; weights and mode do not change.
        input_shape: Channels, height and width of an image.
        verify: Whether to verify the spaces; it takes most of the time.

    Returns:
        The spaces, and what stays whole and why.

    Raises:
        TraceError: If the forward pass cannot be traced, fails, or returns more than a tensor.
        ValueError: If the network has no parameters, or some without a shape or values, if a hook
            rebuilds the weights of a layer, or if the network cannot be copied.
    """
    _check_parameters(network)
    for name, module in network.named_modules():
        check_hooks(name, module)
        _check_attributes(name, module)
    found = _propagate(network, input_shape)
    if any(rewrite.required for rewrite in needed(found)):
        reason = cannot_rewrite(network)
        if reason is None:
            result = _rewritten(network, found, _spaces(found), input_shape, verify)
            if result is not None:
                return result
            # A rewritten call returns a copy, where the call's result shared its memory.
            reason = "a call changes an activation of which others see a part"
            found = _propagate(network, input_shape)
        for rewrite in needed(found):
            if rewrite.required:
                found.labels.fix(rewrite.labels, f"selected by number, and {reason}")
    spaces = _spaces(found)
    wrong = wrong_spaces(network, spaces, input_shape) if verify else {}
    if wrong and needed(found) and cannot_rewrite(network) is None:
        result = _rewritten(network, found, spaces, input_shape, verify)
        if result is not None:
            return result
    return _result(network, found, spaces, wrong)


def _propagate(network: nn.Module, input_shape: InputShape) -> Propagation:
    """Follow the channels through the traced calls."""
    shared = shared_weights(dict(network.named_modules()))
    images = random_images(network, input_shape)
    _check_outputs(copy.deepcopy(network), images)
    with in_mode(network, training=False), torch.no_grad():
        graph = trace(network)
        for node in graph.nodes:
            if node.op == "get_attr":
                shared[str(node.target).rpartition(".")[0]] = "the forward pass"
        found = Propagation(as_module(network, graph), shared)
        found.run(images)
    return found


def _check_parameters(network: nn.Module) -> None:
    parameters = dict(network.named_parameters())
    if not parameters:
        raise ValueError("the network has no parameters, so there is nothing to prune")
    for name, parameter in parameters.items():
        if nn.parameter.is_lazy(parameter):
            raise ValueError(
                f"the parameter {name!r} of a lazy module has no shape yet; run the network on an "
                "image once"
            )
        if parameter.is_meta or not parameter.numel():
            what = "is on the meta device" if parameter.is_meta else "is empty"
            raise ValueError(f"the parameter {name!r} {what}, so the network cannot run")


def _check_attributes(name: str, module: nn.Module) -> None:
    """Check that a module, and thereby the network, can be copied."""
    for attribute, value in vars(module).items():
        if isinstance(value, Tensor) and value.grad_fn is not None:
            path = f"{name}.{attribute}".lstrip(".")
            raise ValueError(
                f"the attribute {path!r} is the result of a forward pass with gradients, so the "
                "network cannot be copied; detach or delete it"
            )


@torch.no_grad()
def _check_outputs(network: nn.Module, images: Tensor) -> None:
    """Check that a network, which changes, returns a tensor for images in both modes."""
    for training in (False, True):
        try:
            found = network.train(training)(images)
        except Exception as error:  # torch raises many types for wrong shapes
            message = str(error).strip().partition("\n")[0]
            raise TraceError(
                f"the network fails for images of shape {tuple(images.shape[1:])}: {message}"
            ) from error
        if not isinstance(found, Tensor):
            mode = "training" if training else "eval"
            raise TraceError(
                f"the network returns a {type(found).__name__} in {mode} mode; it must return the "
                "logits alone, so wrap it or switch its other outputs off"
            )


def _rewritten(
    network: nn.Module,
    found: Propagation,
    spaces: tuple[ChannelSpace, ...],
    input_shape: InputShape,
    verify: bool,
) -> Derivation | None:
    """The result with rewritten calls; None if they change the network's outputs."""
    module = rewritten(found, network)
    if not same_outputs(network, module, input_shape):
        return None
    wrong = wrong_spaces(module, spaces, input_shape) if verify else {}
    return _result(module, found, spaces, wrong)


def _result(
    module: nn.Module,
    found: Propagation,
    spaces: tuple[ChannelSpace, ...],
    wrong: Mapping[str, str],
) -> Derivation:
    """Assemble the result; the spaces in ``wrong`` stay whole for the given reasons."""
    layers = dict(module.named_modules())
    kept = tuple(space for space in spaces if space.name not in wrong)
    free: dict[str, set[int]] = defaultdict(set)
    refused: dict[str, dict[int, str]] = defaultdict(dict)
    for space in spaces:
        for layer in (*space.producers, *space.followers):
            size = RULES[type(layers[layer])].slots(layers[layer], "out")
            slots = space.slots(layer, "out", size).ravel().tolist()
            if space.name in wrong:
                refused[layer] |= dict.fromkeys(slots, wrong[space.name])
            else:
                free[layer] |= set(slots)
    fixed = []
    for name, layer in layers.items():
        if not isinstance(layer, Conv | nn.Linear):
            continue
        reasons = Counter(
            refused[name].get(slot) or reason
            for slot, reason in enumerate(_reasons(found, name, layer))
            if slot not in free[name]
        )
        fixed += [FixedChannels(name, count, reason) for reason, count in reasons.items()]
    return Derivation(module, kept, tuple(fixed))


def _reasons(found: Propagation, name: str, layer: Conv | nn.Linear) -> list[str]:
    """Why each output of a layer is fixed."""
    if name not in found.members:
        size = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        reason = "not called as a layer"
        if type(layer) not in RULES:
            reason = f"no rule for the class {type(layer).__name__}"
        return [reason] * size
    labels = found.members[name].labels["out"].tolist()
    return [found.labels.reason(label) or "no layer reads the channel" for label in labels]


def _spaces(found: Propagation) -> tuple[ChannelSpace, ...]:
    """Group the channels that occur equally often in the same layers."""
    order = {name: place for place, name in enumerate(found.members)}
    groups: dict[tuple[tuple[int, Side, int], ...], list[Slots]] = {}
    for channel in _channels(found).values():
        key = tuple(sorted((order[layer], side, len(at)) for (layer, side), at in channel.items()))
        groups.setdefault(key, []).append(channel)
    named = Counter[str]()
    spaces = []
    for key in sorted(groups, key=lambda key: _first_slot(key, groups[key], found)):
        channels = groups[key]
        first = _producers(channels[0], found.members)
        consumers = _consumers(channels[0], found.members)
        if not first:
            continue
        if not consumers or len(channels) == 1:
            for channel in channels:
                slot = channel[first[0], "out"][0]
                reason = "no other channel is read by the same layers"
                if len(channel[first[0], "out"]) > 1:
                    reason = "they can only be removed together"
                reason = reason if consumers else "no layer reads the channel"
                found.labels.fix(found.members[first[0]].labels["out"][slot], reason)
            continue
        named[first[0]] += 1
        name = first[0] if named[first[0]] == 1 else f"{first[0]}#{named[first[0]]}"
        channels.sort(key=lambda channel: channel[first[0], "out"])
        spaces.append(_space(name, channels, found.members))
    return tuple(spaces)


def _channels(found: Propagation) -> dict[int, Slots]:
    """The slots of each channel that can be removed, by the representative of its labels."""
    channels: dict[int, Slots] = {}
    alive: dict[int, bool] = {}
    for layer, member in found.members.items():
        for side, labels in member.labels.items():
            for slot, label in enumerate(labels.tolist()):
                root = found.labels.root(label)
                if root not in alive:
                    alive[root] = found.labels.reason(root) is None
                if alive[root]:
                    channels.setdefault(root, {}).setdefault((layer, side), []).append(slot)
    return channels


def _first_slot(
    key: tuple[tuple[int, Side, int], ...], channels: list[Slots], found: Propagation
) -> tuple[int, int]:
    """Order of a space: its first producer, then its first slot there."""
    names = list(found.members)
    producers = _producers(channels[0], found.members)
    if not producers:
        return len(names), 0
    first = producers[0]
    return names.index(first), min(channel[first, "out"][0] for channel in channels)


def _producers(channel: Slots, members: Mapping[str, Member]) -> list[str]:
    return [name for name, side in channel if side == "out" and not members[name].follower]


def _consumers(channel: Slots, members: Mapping[str, Member]) -> list[str]:
    # A channel map need not pass a channel on; it then only reads it.
    return [
        name
        for name, side in channel
        if side == "in" and (not members[name].follower or (name, "out") not in channel)
    ]


def _space(name: str, channels: list[Slots], members: Mapping[str, Member]) -> ChannelSpace:
    """One space of the given channels, in their order."""
    one = channels[0]
    followers = [n for n, side in one if side == "out" and members[n].follower]
    places = []
    for layer, side in one:
        slots = np.array([channel[layer, side] for channel in channels], dtype=np.int64)
        if not _fills(slots, len(members[layer].labels[side]), members[layer]):
            places.append(Place(layer, side, slots))
    return ChannelSpace(
        name,
        len(channels),
        tuple(_producers(one, members)),
        tuple(_consumers(one, members)),
        tuple(followers),
        tuple(places),
    )


def _fills(slots: npt.NDArray[np.int64], size: int, member: Member) -> bool:
    """Whether slots are all slots of a side in order, so that no place is needed."""
    flattened = slots.shape[1] == 1 or member.dense
    return flattened and np.array_equal(slots.ravel(), np.arange(size))
