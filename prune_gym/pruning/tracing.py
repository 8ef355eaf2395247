"""Trace the forward pass of a network as a graph of calls."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn

from prune_gym.errors import PruneGymError
from prune_gym.pruning.rules import RULES

Signature = list[tuple[str, str, str, str]]
_CONSTANT = "constant"


class TraceError(PruneGymError):
    """The forward pass cannot be represented as a graph of calls."""


class _Tracer(fx.Tracer):
    """A tracer that does not trace into layers with a pruning rule."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Stochastic depth would otherwise be traced as a call with its mode as a constant.
        whole = type(m) in RULES or type(m).__name__ == "StochasticDepth"
        return whole or super().is_leaf_module(m, module_qualified_name)

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        """Trace the images alone; all other arguments keep their defaults."""
        names = [name for name in inspect.signature(root_fn).parameters if name != "self"]
        images = self.create_proxy("placeholder", names[0] if names else "x", (), {})
        return root_fn, [self.root, images]


def trace(network: nn.Module) -> fx.Graph:
    """The calls of a network's forward pass in its present mode, in order.

    The network does not change, so what the forward pass writes to it is lost. Tensors that the
    forward pass makes are read with :func:`constant`.

    Raises:
        TraceError: If the forward pass depends on the values of tensors, for example.
    """
    try:
        with _unchanged(network):
            before = set(vars(network))
            graph = _Tracer().trace(network)
            for node in graph.find_nodes(op="get_attr"):
                if str(node.target) in vars(network).keys() - before:
                    node.meta[_CONSTANT] = vars(network)[str(node.target)]
        return graph
    except Exception as error:  # a user's forward may raise any exception for a proxy input
        message = str(error).partition("\n")[0]
        raise TraceError(
            f"the forward pass cannot be traced: {message}. Rewrite it so that its calls do not "
            "depend on the values of tensors, or declare the spaces by hand (docs/networks.md)"
        ) from error


def constant(node: fx.Node) -> torch.Tensor | None:
    """The tensor of a ``get_attr`` call that the forward pass made and the network lacks."""
    value = node.meta.get(_CONSTANT)
    return value if isinstance(value, torch.Tensor) else None


def as_module(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """A module that makes the traced calls with the layers of the network."""
    with _unchanged(network):
        for node in graph.find_nodes(op="get_attr"):
            if (value := constant(node)) is not None:
                setattr(network, str(node.target), value)
        return fx.GraphModule(network, graph)


@contextmanager
def _unchanged(network: nn.Module) -> Iterator[None]:
    """Restore the attributes of all modules afterwards."""
    before = {module: dict(vars(module)) for module in network.modules()}
    try:
        yield
    finally:
        for module, attributes in before.items():
            vars(module).clear()
            vars(module).update(attributes)


def signature(nodes: Sequence[fx.Node]) -> Signature:
    """The calls and their arguments as text, for comparisons."""
    return [(n.op, str(n.target), str(n.args), str(n.kwargs)) for n in nodes]


def same_in_training(network: nn.Module) -> bool:
    """Whether a network makes the same calls in training mode as in ``eval`` mode.

    The mode of the network does not change.
    """
    with in_mode(network, training=False):
        evaluated = signature(list(trace(network).nodes))
    with in_mode(network, training=True):
        return evaluated == signature(list(trace(network).nodes))


@contextmanager
def in_mode(network: nn.Module, training: bool) -> Iterator[None]:
    """Put all modules into one mode, and restore their modes afterwards."""
    modes = {module: module.training for module in network.modules()}
    try:
        network.train(training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute with 32 bits on a GPU, where convolutions round to 10 bits (TF32) by default.

    Two ways to compute the same outputs can then be compared.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    cudnn.allow_tf32 = matmul.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
