"""Cost of a layer, with a searched or a given mapping, and of a network."""

from collections.abc import Iterable
from dataclasses import replace

from hw_sim import row_stationary_cost, weight_stationary
from hw_sim.accelerator import Accelerator
from hw_sim.cost import LayerCost, NetworkCost
from hw_sim.layer import ZEROS_SCALE, ConvLayer, Shape
from hw_sim.machine import machine
from hw_sim.mapping import Mapping, SystolicMapping
from hw_sim.row_stationary import OBJECTIVES

MOST = 2**62
"""Upper limit of all results: half the range of int64, so that sums cannot overflow."""
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
    _check_range(layer, accelerator)
    row_stationary = accelerator.dataflow == "row_stationary"
    expected = Mapping if row_stationary else SystolicMapping
    if isinstance(mapping, Mapping) and row_stationary:
        return row_stationary_cost.evaluate(layer, accelerator, mapping)
    if isinstance(mapping, SystolicMapping) and not row_stationary:
        return weight_stationary.evaluate(layer, accelerator, mapping)
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
    _check_range(layer, accelerator)
    if accelerator.dataflow == "row_stationary":
        return row_stationary_cost.search(layer, accelerator, objective)
    return weight_stationary.search(layer, accelerator, objective)


def _check_range(layer: ConvLayer, accelerator: Accelerator) -> None:
    """Reject a layer whose counts, cycles or energy could overflow int64 under some mapping.

    ``work`` is an upper limit of every count of every mapping. It covers all loops, idle PEs, and
    rows that adjacent blocks both read.

    Raises:
        ValueError: If a count could overflow. The message gives the layer, its MACs and the limit.
    """
    s, a = layer.shape, accelerator
    rows, width = s.E * (s.R + s.U), s.W
    idle = (s.M + s.C + 1) * a.pes
    work = s.N * s.G * (s.M * s.C + idle) * rows * width
    work *= max(s.S, -(-s.R // a.array_rows))
    per_access = a.mac_fj + a.rf_ifmap_fj + a.rf_filter_fj + 2 * a.rf_psum_fj
    per_access += 3 * a.noc_fj + 3 * a.buffer_fj + 3 * a.dram_fj
    per_cycle = a.static_power_uw * 1000 // a.clock_mhz + 1
    per_cycle += machine(a).ticks * (1 + a.pass_overhead_cycles)
    bound = work * (per_access + per_cycle + ZEROS_SCALE)
    if bound >= MOST:
        raise ValueError(
            f"Layer {layer.name!r} with macs={layer.macs} could overflow int64 on {a.name!r}: "
            f"its energy or cycles may reach {bound:.1e}; the limit is {MOST:.1e}."
        )
