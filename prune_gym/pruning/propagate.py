"""Follow the channels of a network from layer to layer."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from prune_gym.pruning.channel_map import ChannelMap
from prune_gym.pruning.labels import Labels, along, compact, core, varying
from prune_gym.pruning.moves import (
    Chain,
    Reshape,
    Structure,
    has_sizes,
    leaves_dims,
    reshape_without_sizes,
    run_move,
    selection,
)
from prune_gym.pruning.operations import operation
from prune_gym.pruning.rules import RULES, Conv
from prune_gym.pruning.spaces import Side


@dataclass
class Member:
    """Labels of the slots of a layer.

    Args:
        follower: Whether the layer processes each channel separately.
        dense: Whether the layer is a dense layer, which may read flattened channels.
        labels: For each side, the label of each slot.
    """

    follower: bool
    dense: bool
    labels: dict[Side, Tensor]


@dataclass(frozen=True)
class Rewrite:
    """A call that must be replaced before the network can be cut.

    Args:
        base: The call whose result the replacement reads.
        layer: Layer that replaces the call and all calls since ``base``; None for a flatten or
            added dimensions, which :attr:`call` describes.
        call: Function and its arguments behind the input.
        labels: Labels of the channels; the rewrite is needed if one can be removed.
        required: Whether the call is wrong for a cut network; otherwise it may be right as it is.
    """

    base: fx.Node
    layer: ChannelMap | None
    call: Reshape | None
    labels: Tensor
    required: bool


class Propagation(fx.Interpreter):
    """Runs a traced network on images, and follows the labels of all activations.

    Attributes:
        members: Labels of the slots of each layer, in the order of the first calls.
        rewrites: Calls to replace.
        labels: The labels and why they are fixed.
    """

    def __init__(self, module: fx.GraphModule, shared: dict[str, str]) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.labels = Labels()
        self.members: dict[str, Member] = {}
        self.rewrites: dict[fx.Node, Rewrite] = {}
        self._shared = shared
        self._known: dict[fx.Node, Structure] = {}
        self._chains: dict[fx.Node, Chain] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a call and follow its labels; see :class:`torch.fx.Interpreter`."""
        result = super().run_node(n)
        if n.op == "output":
            self.labels.fix(self._joined(n), "the network's output")
        elif not _flat(result):
            pass  # a size or another number
        elif n.op in ("placeholder", "get_attr"):
            self._known[n] = _zeros(result)
        else:
            self._known[n] = self._follow(n, result)
        return result

    def _follow(self, node: fx.Node, result: Structure) -> Structure:
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        if module is not None and isinstance(result, Tensor) and _has_slots(module):
            return self._layer(node, module, result)
        if not self.labels.alive(self._joined(node)):
            return _zeros(result)
        kind = operation(node, module)[1]
        chained = [source for source in node.all_input_nodes if source in self._chains]
        follow = getattr(self, f"_{kind}")
        if chained and kind not in ("move", "select"):
            return self._other(node, result, "reads channels that are selected by number, ")
        found = follow(node, result)
        return found if found is not None else self._other(node, result)

    # Layers with rules

    def _layer(self, node: fx.Node, module: nn.Module, result: Tensor) -> Tensor:
        """A layer with channels of its own, or one that processes each channel separately."""
        name, rule = str(node.target), RULES[type(module)]
        source = self._source(node)
        if source in self._chains:
            self._other(node, result, "reads channels that are selected by number, ")
        given = self._known[source]
        dim = given.dim() - 1 if isinstance(module, nn.Linear) else 1
        out_dim = result.dim() - 1 if isinstance(module, nn.Linear) else 1
        if isinstance(module, ChannelMap):
            dim = out_dim = module.dim % given.dim()
        inputs = self.labels.tie_slots(given, dim, f"read by {name!r} with fixed channels")
        before = self.members.get(name)
        if before is not None:
            self.labels.tie(before.labels["in"], inputs, f"read by {name!r}, which is called twice")
        if name in self._shared:
            reason = f"the layer shares its weights with {self._shared[name]!r}"
            self.labels.fix(inputs, reason)
        if rule.roles == ("followers",):
            self._constrain_norm(name, module, inputs)
            self.members[name] = Member(True, False, {"out": inputs, "in": inputs})
            return compact(given)
        if before is None:
            follower = False
            if isinstance(module, ChannelMap) and not module.pads:
                follower, outputs = True, inputs[module.source.cpu()]
            else:
                outputs = self.labels.fresh(rule.slots(module, "out"))
            if isinstance(module, Conv):
                follower = self._constrain_groups(name, module, inputs, outputs)
            self.members[name] = before = Member(
                follower, isinstance(module, nn.Linear), {"in": inputs, "out": outputs}
            )
            if name in self._shared:
                self.labels.fix(outputs, reason)
        return along(before.labels["out"], result.shape, out_dim)

    def _constrain_norm(self, name: str, module: nn.Module, inputs: Tensor) -> None:
        """A group norm must keep or lose whole groups."""
        if isinstance(module, nn.GroupNorm):
            reason = f"normalised with fixed channels by {name!r}"
            by_group = inputs.reshape(module.num_groups, -1)
            self.labels.tie(by_group, by_group[:, :1].expand_as(by_group), reason)
            if module.num_groups == 1:
                self.labels.fix(inputs, f"{name!r} normalises over all channels")

    def _constrain_groups(self, name: str, module: Conv, inputs: Tensor, outputs: Tensor) -> bool:
        """Tie the channels of a grouped convolution; return whether whole groups are removed.

        Either whole groups are removed, or equally many channels of each group: whichever leaves
        more to choose.
        """
        groups = module.groups
        if groups == 1:
            return False
        inp, out = inputs.reshape(groups, -1), outputs.reshape(groups, -1)
        reason = f"in a group of {name!r} with fixed channels"
        free = all(self.labels.reason(int(label)) is None for label in inputs)
        if free and groups >= inp.shape[1] + out.shape[1]:
            self.labels.tie(inp, inp[:, :1].expand_as(inp), reason)
            self.labels.tie(out, inp[:, :1].expand_as(out), reason)
            return True
        self.labels.tie(inp, inp[:1].expand_as(inp), reason)
        self.labels.tie(out, out[:1].expand_as(out), reason)
        return False

    # Operations; each returns the labels of the result, or None if it cannot follow them

    def _elementwise(self, node: fx.Node, result: Structure) -> Structure | None:
        if not isinstance(result, Tensor):
            return None
        shape = result.shape
        given = self._operands(node)
        if operation(node, self._module(node))[0] in ("to", "type_as"):
            given = given[:1]  # the other tensor only names a type
        if any(labels.dim() > len(shape) for labels in given):
            return None
        operands = [_aligned(labels, len(shape)) for labels in given]
        if any(
            size not in (1, full)
            for o in operands
            for size, full in zip(o.shape, shape, strict=True)
        ):
            return None
        reason = f"combined with fixed channels by {self._where(node)}"
        total: Tensor | None = None
        for position, labels in enumerate(operands):
            others = {d for o in operands[:position] + operands[position + 1 :] for d in varying(o)}
            if any(labels.shape[d] == 1 and shape[d] > 1 for d in others):
                # One value meets many channels, as a gate per pixel does; it stays.
                self.labels.fix(labels, f"applied to all channels by {self._where(node)}")
                continue
            if total is None:
                total = labels.expand(shape)
            else:
                self.labels.tie(total, labels.expand(shape), reason)
        return None if total is None else compact(total)

    def _pool(self, node: fx.Node, result: Structure) -> Structure | None:
        """Operations on the last dimensions, in which all elements must be of one channel."""
        (labels,) = self._operands(node)
        if not isinstance(result, Tensor) or result.dim() != labels.dim():
            return None
        name = operation(node, self._module(node))[0]
        flat = 1 if name.endswith("1d") else 2 if name.endswith("2d") else labels.dim() - 2
        changed = [d for d in range(labels.dim()) if d >= labels.dim() - flat]
        if set(changed) & set(varying(labels)) or labels.dim() < 3:
            return None
        small = labels
        for dim in changed:
            small = small.narrow(dim, 0, 1)
        return compact(small).expand(result.shape)

    def _reduce(self, node: fx.Node, result: Structure) -> Structure | None:
        (labels,) = self._operands(node)
        dims = self._argument(node, 1, "dim")
        dims = self._argument(node, 1, "axis") if dims is None else dims
        if not isinstance(result, Tensor) or dims is None:
            return None
        dims = [dims] if isinstance(dims, int) else list(dims)
        reduced = {dim % labels.dim() for dim in dims}
        if reduced & set(varying(labels)):
            return None
        for dim in reduced:
            labels = labels.narrow(dim, 0, 1)
        return labels.reshape(result.shape) if labels.numel() == result.numel() else None

    def _move(self, node: fx.Node, result: Structure) -> Structure | None:
        """Operations that copy elements; they are run on the labels themselves."""
        found = self._moved(node, self._known)
        name, _ = operation(node, self._module(node))
        source = node.all_input_nodes[0]
        given = self._known[source]
        if not isinstance(found, Tensor) or not isinstance(given, Tensor):
            return None
        if name == "pixel_shuffle" and source not in self._chains:
            # The channels whose pixels interleave are removed together.
            reason = f"shuffled with fixed channels by {self._where(node)}"
            blocks = self.labels.tie_slots(given, 1, reason).reshape(result.shape[1], -1)
            self.labels.tie(blocks, blocks[:, :1].expand_as(blocks), reason)
            return along(blocks[:, 0], result.shape, 1)
        if source in self._chains:
            return self._chain(node, self._chains[source], found)
        splits = len(varying(found)) > 1 or len(varying(given)) > 1
        if splits or name == "channel_shuffle":
            return self._chain(node, self._start(source), found)
        if name in ("view", "reshape", "flatten", "unflatten", "expand"):
            return self._reshaped(node, source, found)
        if name == "squeeze" and len(node.args) + len(node.kwargs) == 1:
            # It would remove the channels' dimension, too, if one channel is left.
            ones = tuple(dim for dim, size in enumerate(given.shape) if size == 1)
            self.rewrites[node] = Rewrite(source, None, (torch.squeeze, (ones,)), given, True)
        return found

    def _select(self, node: fx.Node, result: Structure) -> Structure | None:
        """Selections by number: of channels they start or continue a chain."""
        source = node.all_input_nodes[0]
        given = self._known[source]
        if not isinstance(given, Tensor):  # an item of a tuple
            found = self._moved(node, self._known)
            if source in self._chains:
                return self._chain(node, self._chains[source], found)
            return found
        found = self._moved(node, self._known)
        if source in self._chains:
            return self._chain(node, self._chains[source], found)
        if leaves_dims(node, given.dim(), varying(given)):
            return found
        return self._chain(node, self._start(source), found)

    def _pad(self, node: fx.Node, result: Structure) -> Structure | None:
        """Padding of pixels; a padding of channels with zeros becomes a layer."""
        (labels,) = self._operands(node)
        sizes = self._argument(node, 1, "pad")
        mode, value = self._argument(node, 2, "mode"), self._argument(node, 3, "value")
        if not isinstance(result, Tensor) or not isinstance(sizes, tuple | list):
            return None
        padded = {labels.dim() - 1 - i // 2: i for i, size in enumerate(sizes) if size}
        changing = varying(labels)
        if not padded.keys() & set(changing):
            small = labels
            for dim in padded:
                small = small.narrow(dim, 0, 1)
            return compact(small).expand(result.shape)
        before = sizes[2 * (labels.dim() - 1 - changing[0])] if changing else 0
        behind = sizes[2 * (labels.dim() - 1 - changing[0]) + 1] if changing else 0
        plain = mode in (None, "constant") and not value
        if len(padded) > 1 or len(changing) > 1 or not plain or min(before, behind) < 0:
            return None
        dim, count = changing[0], labels.shape[changing[0]]
        layer = ChannelMap(count, [-1] * before + [*range(count)] + [-1] * behind, dim)
        inputs = self.labels.tie_slots(labels, dim, "padded")
        outputs = self.labels.fresh(layer.out_channels)
        both = torch.cat([inputs, outputs])
        self.rewrites[node] = Rewrite(node.all_input_nodes[0], layer, None, both, required=True)
        self.members[map_name(node)] = Member(False, False, {"in": inputs, "out": outputs})
        return along(outputs, result.shape, dim)

    def _join(self, node: fx.Node, result: Structure) -> Structure | None:
        return self._moved(node, self._known)

    def _other(self, node: fx.Node, result: Structure, what: str = "") -> Structure:
        """An operation of which nothing is known: the channels that it reads stay whole."""
        reason = f"{what}{self._where(node)}" if what else f"no rule for {self._where(node)}"
        self.labels.fix(self._joined(node), reason)
        return _zeros(result)

    # Chains of moves

    def _start(self, source: fx.Node) -> Chain:
        labels = self._known[source]
        ids = torch.arange(labels.numel()).reshape(labels.shape)
        return Chain(source, ids)

    def _chain(self, node: fx.Node, chain: Chain, found: Structure) -> Structure:
        """Continue a chain of moves; end it if it is a selection of whole channels."""
        source = node.all_input_nodes[0]
        ids = self._moved(node, {source: chain.ids})
        base = self._known[chain.base]
        selected = selection(base, ids)
        if selected is not None:
            dim, index = selected
            inputs = self.labels.tie_slots(base, dim, "selected")
            layer = ChannelMap(base.shape[dim], index.tolist(), dim)
            self.rewrites[node] = Rewrite(chain.base, layer, None, inputs, required=True)
            outputs = inputs[index]
            self.members[map_name(node)] = Member(True, False, {"in": inputs, "out": outputs})
            return along(outputs, ids.shape, dim)
        self._chains[node] = Chain(chain.base, ids)
        return found

    def _reshaped(self, node: fx.Node, source: fx.Node, found: Tensor) -> Tensor | None:
        """A reshape that keeps the channels in one dimension, possibly with a constant size."""
        given = self._known[source]
        name, _ = operation(node, self._module(node))
        constant = name == "unflatten" or (name != "flatten" and has_sizes(node, varying(found)))
        call = reshape_without_sizes(tuple(given.shape), tuple(found.shape))
        if call is not None and name != "flatten":
            self.rewrites[node] = Rewrite(source, None, call, given, constant)
        return None if constant and call is None else found

    # Helpers

    def _moved(self, node: fx.Node, values: Mapping[fx.Node, Structure]) -> Structure:
        """Run a call that moves elements on other tensors, such as labels."""
        return run_move(node, self._module(node), {**self.env, **values})

    def _module(self, node: fx.Node) -> nn.Module | None:
        return self.fetch_attr(str(node.target)) if node.op == "call_module" else None

    def _source(self, node: fx.Node) -> fx.Node:
        source = node.args[0] if node.args else next(iter(node.kwargs.values()))
        assert isinstance(source, fx.Node)
        return source

    def _argument(self, node: fx.Node, place: int, name: str) -> Any:
        """An argument of a call; None if it is not given."""
        value = node.kwargs.get(name, node.args[place] if len(node.args) > place else None)
        return fx.node.map_arg(value, lambda source: self.env[source])

    def _operands(self, node: fx.Node) -> list[Tensor]:
        """Labels of the tensors that a call reads."""
        return [
            labels
            for source in node.all_input_nodes
            if isinstance(labels := self._known.get(source), Tensor)
        ]

    def _joined(self, node: fx.Node) -> Tensor:
        """All labels that a call reads, in one dimension."""
        sources = list(node.all_input_nodes)
        # If a selection by number cannot be followed, all channels that it chooses from stay.
        sources += [self._chains[source].base for source in sources if source in self._chains]
        parts = [core(p).flatten() for source in sources for p in _flat(self._known.get(source))]
        return torch.cat([torch.zeros(1, dtype=torch.int64), *parts]).unique()

    def _where(self, node: fx.Node) -> str:
        """A call and the module that makes it, for messages."""
        module = self._module(node)
        name, _ = operation(node, module)
        if module is not None:
            return f"{type(module).__name__} {str(node.target)!r}"
        stack = list(node.meta.get("nn_module_stack", {}))
        return f"{name!r} in {stack[-1]!r}" if stack and stack[-1] else f"{name!r}"


def map_name(node: fx.Node) -> str:
    """Name of the layer that replaces a call."""
    return f"channels_{node.name}"


def _aligned(labels: Tensor, dims: int) -> Tensor:
    """Labels with dimensions of size 1 in front, as broadcasting adds them."""
    return labels.reshape((1,) * (dims - labels.dim()) + tuple(labels.shape))


def _has_slots(module: nn.Module) -> bool:
    """Whether a layer has a rule and channels of its own."""
    one_slope = isinstance(module, nn.PReLU) and module.num_parameters == 1
    return type(module) in RULES and not one_slope


def _zeros(result: Structure) -> Structure:
    """Labels of elements that always exist, in the structure of a result."""
    if isinstance(result, Tensor):
        return torch.zeros((), dtype=torch.int64).expand(result.shape)
    if isinstance(result, tuple | list):
        return tuple(_zeros(part) for part in result)
    return None


def _flat(structure: Structure) -> list[Tensor]:
    """The tensors in a structure."""
    if isinstance(structure, Tensor):
        return [structure]
    if isinstance(structure, tuple | list):
        return [part for each in structure for part in _flat(each)]
    return []
