"""Replace calls that select channels by number with layers that can be pruned."""

import operator

from torch import fx, nn

from prune_gym.pruning.operations import operation
from prune_gym.pruning.propagate import Propagation, Rewrite, map_name
from prune_gym.pruning.tracing import same_in_training


def needed(found: Propagation) -> list[Rewrite]:
    """The rewrites of activations with channels that can be removed."""
    return [rewrite for rewrite in found.rewrites.values() if found.labels.alive(rewrite.labels)]


def cannot_rewrite(network: nn.Module) -> str | None:
    """Why a list of calls cannot stand for a network; None if it can."""
    if network._forward_pre_hooks or network._forward_hooks:
        return "the network itself has forward hooks"
    if not same_in_training(network):
        return "the network makes other calls in training"
    return None


def rewritten(found: Propagation, network: nn.Module) -> fx.GraphModule:
    """The traced network with a layer for each selection of channels by number.

    It has the layers of the network under the same names; both share them, and their modes stay.
    ``found`` cannot be used for further rewrites.
    """
    module = found.module
    assert isinstance(module, fx.GraphModule)
    graph, new = module.graph, dict[fx.Node, fx.Node]()
    device = next(module.parameters()).device
    for node, rewrite in found.rewrites.items():
        if not found.labels.alive(rewrite.labels):
            continue
        base = new.get(rewrite.base, rewrite.base)
        with graph.inserting_before(node):
            if rewrite.layer is not None:
                module.add_submodule(map_name(node), rewrite.layer.to(device))
                new[node] = graph.call_module(map_name(node), (base,))
            else:
                assert rewrite.call is not None
                function, arguments = rewrite.call
                new[node] = graph.call_function(function, (base, *arguments))
        node.replace_all_uses_with(new[node])
        _erase(graph, node)
    graph.lint()
    module.recompile()
    modes = {name: part.training for name, part in network.named_modules()}
    for name, part in module.named_modules():
        part.training = modes.get(name, network.training)
    return module


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Erase a call without readers, and the moves before it that nothing else reads."""
    waiting = [node]
    while waiting:
        last = waiting.pop()
        if last.users or last not in graph.find_nodes(op=last.op, target=last.target):
            continue
        sources = last.all_input_nodes
        graph.erase_node(last)
        waiting += [source for source in sources if _moves(source)]


def _moves(node: fx.Node) -> bool:
    """Whether a call only reads a size or moves elements, so that nothing depends on it unread."""
    if node.op == "call_method" and node.target == "size":
        return True
    if node.op not in ("call_function", "call_method"):
        return False
    return operation(node, None)[1] in ("move", "select") or node.target in (
        getattr,
        operator.mul,
        operator.floordiv,
    )
