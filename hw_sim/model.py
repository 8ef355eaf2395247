"""Cost of a layer, with a searched or a given mapping, and of a network."""

from collections.abc import Iterable
from dataclasses import replace

from hw_sim import row_stationary_cost, weight_stationary_cost
from hw_sim.accelerator import Accelerator
from hw_sim.cost import LayerCost, NetworkCost
from hw_sim.layer import ConvLayer, Shape
from hw_sim.mapping import Mapping, SystolicMapping
from hw_sim.overflow import check_energy, check_range
from hw_sim.row_stationary import OBJECTIVES

_MEMO_SIZE = 1 << 14
_memo: dict[tuple[Shape, Accelerator, str], LayerCost] = {}


def search(layer: ConvLayer, accelerator: Accelerator, objective: str = "latency") -> LayerCost:
    """Find the best mapping of a layer. The result is deterministic on every machine.

    Args:
        layer: The layer.
        accelerator: The accelerator.
        objective: ``"latency"``, ``"energy"`` or ``"edp"`` (energy-delay product).

    Returns:
        The cost under the best mapping; ties are broken in a fixed order.

    Raises:
        ValueError: If the objective is unknown, no mapping fits the accelerator, or a count could
            overflow int64.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"Unknown objective {objective!r}. Known: {', '.join(OBJECTIVES)}.")
    key = (layer.shape, accelerator, objective)
    cost = _memo.get(key)
    if cost is None:
        if len(_memo) >= _MEMO_SIZE:
            _memo.clear()
        cost = _memo[key] = _search(layer, accelerator, objective)
    return replace(cost, layer=layer)


def evaluate(
    layer: ConvLayer, accelerator: Accelerator, mapping: Mapping | SystolicMapping
) -> LayerCost:
    """Compute the cost of a layer under a given mapping.

    Args:
        layer: The layer.
        accelerator: The accelerator.
        mapping: A :class:`Mapping` for a row-stationary array, otherwise a
            :class:`SystolicMapping`.

    Raises:
        ValueError: If the mapping is infeasible (the message names the constraint) or a count
            could overflow int64.
        TypeError: If the mapping belongs to another dataflow.
    """
    check_range(layer, accelerator)
    row_stationary = accelerator.dataflow == "row_stationary"
    expected = Mapping if row_stationary else SystolicMapping
    if isinstance(mapping, Mapping) and row_stationary:
        return row_stationary_cost.evaluate(layer, accelerator, mapping)
    if isinstance(mapping, SystolicMapping) and not row_stationary:
        return weight_stationary_cost.evaluate(layer, accelerator, mapping)
    raise TypeError(
        f"Accelerator {accelerator.name!r} ({accelerator.dataflow}) needs a {expected.__name__}, "
        f"not {mapping!r}."
    )


def evaluate_network(
    layers: Iterable[ConvLayer], accelerator: Accelerator, objective: str = "latency"
) -> NetworkCost:
    """Find the best mapping of each layer and sum the costs.

    Args:
        layers: The layers, in order.
        accelerator: The accelerator.
        objective: Objective of the mapping search; see :func:`search`.

    Raises:
        ValueError: If :func:`search` fails for a layer.
    """
    costs = tuple(search(layer, accelerator, objective) for layer in layers)
    return NetworkCost(costs, accelerator, objective)


def clear_memo() -> None:
    """Clear the memo of searched layers. This affects timing, never results."""
    _memo.clear()


def _search(layer: ConvLayer, accelerator: Accelerator, objective: str) -> LayerCost:
    check_range(layer, accelerator)
    if accelerator.dataflow == "row_stationary":
        cost = row_stationary_cost.search(layer, accelerator, objective)
    else:
        cost = weight_stationary_cost.search(layer, accelerator, objective)
    if objective != "latency":
        check_energy(cost)
    return cost
