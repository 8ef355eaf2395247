"""A network as a list of calls, which can run in parts and with folded batch norms.

The list is traced once, on the unpruned network; a pruned network makes the same calls with its own
layers. Activations before a cut are therefore computed once and shared by all candidate cuts.
"""

import copy
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from prune_gym.errors import PruneGymError
from prune_gym.pruning import ChannelSpace, dense
from prune_gym.pruning.tracing import TraceError, constant, full_precision, signature, trace

Values = dict[int, Any]
"""Results of calls by the number of the call; number 0 holds the images."""

_RELU = (torch.relu, functional.relu, "relu", "relu_")
_ADD = (operator.add, operator.iadd, torch.add, "add", "add_")


class ProgramError(PruneGymError):
    """The network cannot be represented as a list of calls."""


class Program:
    """The calls of a network's forward pass, in order.

    Args:
        network: The unpruned network, in ``eval`` mode.
        spaces: Channel spaces of the network.
        images: A few normalised images on which the calls are compared with the network.

    Raises:
        ProgramError: If one list of calls cannot represent the forward pass, for example because
            it depends on data or channel counts, or if a layer of a space is called twice.
    """

    def __init__(self, network: nn.Module, spaces: Sequence[ChannelSpace], images: Tensor) -> None:
        masks = {
            space.name: np.arange(space.channels) < max(1, space.channels - 1) for space in spaces
        }
        nodes = _trace(network)
        if signature(nodes) != signature(_trace(dense(network, spaces, masks))):
            raise ProgramError("the forward pass contains channel counts as constants")
        training = copy.deepcopy(network).train()
        self.same_in_training = signature(nodes) == signature(_trace(training))
        if nodes[0].op != "placeholder" or any(node.op == "placeholder" for node in nodes[1:]):
            raise ProgramError("the forward pass has arguments other than the images")
        self.nodes = nodes
        self.number = {node: index for index, node in enumerate(nodes)}
        self.last_use = [
            max((self.number[user] for user in node.users), default=index)
            for index, node in enumerate(nodes)
        ]
        self.sources = [tuple(self.number[n] for n in node.all_input_nodes) for node in nodes]
        self.calls = self._calls(spaces)
        modules = dict(network.named_modules())
        self.kinds = [_kind(node, modules) for node in nodes]
        for node in nodes:
            if _changes_in_place(node, modules):
                # Activations before a cut are shared, so no call may change them.
                raise ProgramError(f"the call {node.format_node()!r} changes its input in place")
        self.folds = {
            index: self.number[norm]
            for index, node in enumerate(nodes)
            if (norm := _folding_norm(node, modules)) is not None
        }
        if not isinstance(nodes[-1].args[0], fx.Node):
            raise ProgramError("the forward pass returns more than the logits")
        self._verify(network, images)

    def _calls(self, spaces: Sequence[ChannelSpace]) -> dict[str, int]:
        """Number of the call of each layer in the spaces."""
        calls: dict[str, int] = {}
        wanted = {layer for space in spaces for layer in space.members}
        for index, node in enumerate(self.nodes):
            if node.op == "call_module" and str(node.target) in wanted:
                if str(node.target) in calls:
                    raise ProgramError(f"the layer {node.target!r} is called twice")
                calls[str(node.target)] = index
        missing = sorted(wanted - set(calls))
        if missing:
            raise ProgramError(f"the layer {missing[0]!r} is not called as a module")
        return calls

    @torch.no_grad()
    def _verify(self, network: nn.Module, images: Tensor) -> None:
        with full_precision():
            expected = network(images)
            result = Bound(self, network).logits({0: images})
        if result.shape != expected.shape or not torch.allclose(
            result, expected, rtol=1e-3, atol=1e-3
        ):
            raise ProgramError("the outputs of the traced calls differ from the network's")

    def called_from(self, start: int) -> set[str]:
        """Names of the modules that call number ``start`` and later calls use."""
        return {str(node.target) for node in self.nodes[start:] if node.op == "call_module"}

    def first_call(self, space: ChannelSpace) -> int:
        """Number of the first call that a cut of the space changes."""
        return min(self.calls[layer] for layer in space.members)

    def watch_point(self, space: ChannelSpace) -> int:
        """Number of the call whose result holds the space's activations: its last follower.

        If only a ReLU reads this result, the ReLU's number is returned: its output is equally
        suitable and needs no additional computation.
        """
        index = self.calls[(space.followers or space.producers)[-1]]
        users = list(self.nodes[index].users)
        alone = len(users) == 1 and _kind(users[0], {}) == "relu"
        return self.number[users[0]] if alone else index

    def independent(self, space: ChannelSpace) -> bool:
        """Whether no consumer of a space depends on another of its consumers.

        If so, the inputs of the consumers from the kept channels do not depend on the cut.
        """
        consumers = {self.calls[layer] for layer in space.consumers}
        dependent: set[int] = set()
        for index in range(len(self.nodes)):
            if not (dependent | consumers).isdisjoint(self.sources[index]):
                if index in consumers:
                    return False
                dependent.add(index)
        return True


class Bound:
    """A program that runs with the layers of one network.

    Args:
        program: The calls.
        network: The network, pruned or not, of the traced architecture. A layer may have been
            replaced by several layers in sequence (``nn.Sequential``).
        fold: Whether to fold batch norms into the preceding convolutions. Folded batch norms use
            their running statistics in both ``train`` and ``eval`` mode.
    """

    def __init__(self, program: Program, network: nn.Module, fold: bool = True) -> None:
        self.program = program
        self.modules = dict(network.named_modules())
        self.network = network
        self.folded = {}
        self.skipped: dict[int, int] = {}
        if fold:
            for conv, norm in program.folds.items():
                # If two layers replaced the convolution, the batch norm is not folded.
                if isinstance(self._module(conv), nn.Conv2d):
                    self.folded[conv] = _fold(self._module(conv), self._module(norm))
                    self.skipped[norm] = conv

    def _module(self, index: int) -> Any:
        return self.modules[str(self.program.nodes[index].target)]

    def logits(self, values: Values, start: int = 1, watch: Mapping[int, Any] | None = None) -> Any:
        """Run from call ``start`` to the end, and return the logits, shape (N, classes).

        ``values`` is the result of :meth:`run` for ``stop=start``, or ``{0: images}`` for
        ``start=1``.
        """
        last = len(self.program.nodes) - 1
        output = self.program.nodes[last].args[0]
        assert isinstance(output, fx.Node)
        return self.run(values, start, last, watch)[self.program.number[output]]

    def run(
        self,
        values: Values,
        start: int,
        stop: int,
        watch: Mapping[int, Callable[[Tensor], None]] | None = None,
    ) -> Values:
        """Run the calls from ``start`` to ``stop - 1``.

        Args:
            values: Results of the calls before ``start``; the mapping is not changed.
            start: Number of the first call.
            stop: Number of the call after the last one.
            watch: Functions to call with the result of a call, by the number of the call.

        Returns:
            The results that call ``stop`` and later calls read.
        """
        program, live, watch = self.program, dict(values), watch or {}
        fresh: set[int] = set()
        for index in range(start, stop):
            live[index] = self._call(index, live, fresh)
            if index in watch:
                watch[index](live[index])
            for source in program.sources[index]:
                if program.last_use[source] == index:
                    live.pop(source, None)
        return {index: value for index, value in live.items() if program.last_use[index] >= stop}

    def _call(self, index: int, live: Values, fresh: set[int]) -> Any:
        """Run one call; without gradients, a result with one reader is overwritten in place."""
        program = self.program
        node = program.nodes[index]
        if index in self.skipped:
            # The folded norm passes on the convolution's result, which stays fresh if it was.
            if self.skipped[index] in fresh:
                fresh.add(index)
            return live[self.skipped[index]]
        kind = program.kinds[index]
        if kind:
            fresh.add(index)
        if index in self.folded:
            weight, bias = self.folded[index]
            conv = self._module(index)
            (images,) = (live[source] for source in program.sources[index])
            return functional.conv2d(
                images, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups
            )
        args: Any = fx.node.map_arg(node.args, lambda source: live[program.number[source]])
        free = [self._may_overwrite(source, fresh) for source in program.sources[index]]
        if kind == "relu":
            return args[0].relu_() if free[0] else args[0].relu()
        if kind == "inplace" and not free[0]:
            args = (args[0].clone(), *args[1:])
        if kind == "add" and len(free) == 2 and any(free) and args[0].shape == args[1].shape:
            return args[0].add_(args[1]) if free[0] else args[1].add_(args[0])
        kwargs: Any = fx.node.map_arg(node.kwargs, lambda source: live[program.number[source]])
        if node.op == "call_module":
            return self.modules[str(node.target)](*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "get_attr":
            made = constant(node)
            if made is not None:
                return made
            return operator.attrgetter(str(node.target))(self.network)
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _may_overwrite(self, source: int, fresh: set[int]) -> bool:
        """Whether this run created a result as a new tensor and only one call reads it."""
        alone = len(self.program.nodes[source].users) == 1
        return source in fresh and alone and not torch.is_grad_enabled()


def _trace(network: nn.Module) -> list[fx.Node]:
    try:
        return list(trace(network).nodes)
    except TraceError as error:
        raise ProgramError(str(error)) from error


def _kind(node: fx.Node, modules: Mapping[str, nn.Module]) -> str:
    """Return the kind of a call whose result no other call holds, or ``""``.

    ``relu``, ``add``, ``compute`` (a layer that creates a new tensor) or ``inplace`` (an activation
    that overwrites its input, which nothing else reads).
    """
    if node.op == "call_module":
        module = modules.get(str(node.target))
        if isinstance(module, nn.ReLU):
            return "relu"
        layers = nn.Conv2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d
        if isinstance(module, layers):
            return "compute"
        given = node.args[0] if len(node.args) == 1 else None
        alone = isinstance(given, fx.Node) and len(given.users) == 1
        return "inplace" if alone and getattr(module, "inplace", False) else ""
    if node.target in _RELU and len(node.args) == 1:
        return "relu"
    if node.target in _ADD and len(node.args) == 2 and not node.kwargs:
        return "add"
    return ""


def _changes_in_place(node: fx.Node, modules: Mapping[str, nn.Module]) -> bool:
    """Whether a call changes its input; :class:`Bound` takes care of calls of a known kind."""
    if _kind(node, modules):
        return False
    module = modules.get(str(node.target)) if node.op == "call_module" else None
    name = getattr(node.target, "__name__", str(node.target)) if node.op != "call_module" else ""
    underscore = name.endswith("_") and not name.endswith("__")
    augmented = node.op == "call_function" and getattr(operator, name, None) is node.target
    return bool(
        getattr(module, "inplace", False)
        or node.kwargs.get("inplace")
        or (node.op in ("call_function", "call_method") and underscore)
        or (augmented and name in ("iadd", "isub", "imul", "itruediv", "setitem"))
    )


def _folding_norm(node: fx.Node, modules: Mapping[str, nn.Module]) -> fx.Node | None:
    """Return the batch norm to fold into a convolution, if it is the only reader."""
    if node.op != "call_module" or len(node.users) != 1:
        return None
    conv = modules[str(node.target)]
    if not isinstance(conv, nn.Conv2d) or conv.padding_mode != "zeros":
        return None
    (user,) = node.users
    norm = modules.get(str(user.target)) if user.op == "call_module" else None
    return user if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats else None


@torch.no_grad()
def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that equals both layers in ``eval`` mode."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    scale = (variance + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    bias = -mean * scale if conv.bias is None else (conv.bias - mean) * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    return conv.weight * scale[:, None, None, None], bias
