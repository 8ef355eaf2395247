"""Trace the forward pass of a network as a graph of calls."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import fx, nn

from prune_gym.errors import PruneGymError
from prune_gym.pruning.rules import RULES

Signature = list[tuple[str, str, str, str]]


class TraceError(PruneGymError):
    """The forward pass cannot be represented as a graph of calls."""


class _Tracer(fx.Tracer):
    """A tracer that does not trace into layers with a pruning rule."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Stochastic depth would otherwise be traced as a call with its mode as a constant.
        whole = type(m) in RULES or type(m).__name__ == "StochasticDepth"
        return whole or super().is_leaf_module(m, module_qualified_name)


def trace(network: nn.Module) -> fx.Graph:
    """The calls of a network's forward pass in its present mode, in order.

    Raises:
        TraceError: If the forward pass depends on the values of tensors, for example.
    """
    try:
        return _Tracer().trace(network)
    except Exception as error:  # a user's forward may raise any exception for a proxy input
        message = str(error).partition("\n")[0]
        raise TraceError(
            f"the forward pass cannot be traced: {message}. Rewrite it so that its calls do not "
            "depend on the values of tensors, or declare the spaces by hand (docs/networks.md)"
        ) from error


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
