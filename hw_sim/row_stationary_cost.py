"""Cost of a layer on a row-stationary array: input checks, kernel calls, and the result."""

from typing import NamedTuple

from hw_sim.accelerator import LARGEST as MOST
from hw_sim.accelerator import Accelerator
from hw_sim.cost import LayerCost, Table, layer_cost
from hw_sim.layer import ConvLayer, Shape
from hw_sim.machine import Machine, Tiles, machine
from hw_sim.mapping import DRAM_ORDERS, Mapping
from hw_sim.row_stationary import (
    OBJECTIVES,
    count,
    ifmap_banks,
    schedule,
    search_shape,
    sets_of,
    tiles,
)


def search(layer: ConvLayer, accelerator: Accelerator, objective: str) -> LayerCost:
    """Find the best mapping of a layer on a row-stationary array.

    Raises:
        ValueError: If no mapping fits.
    """
    s, h = layer.shape, machine(accelerator)
    key = search_shape(s, h, OBJECTIVES.index(objective))
    if key[2] == 2**62:
        raise ValueError(_no_mapping(layer, accelerator))
    _, _, _, _, _, e, n, m, p, q, r, t, order = key
    mapping = Mapping(m, n, e, p, q, r, t, DRAM_ORDERS[order])
    return _cost(layer, accelerator, mapping, tiles(s, h, e, n, m, p, q, r, t, order))


def evaluate(layer: ConvLayer, accelerator: Accelerator, mapping: Mapping) -> LayerCost:
    """Compute the cost of a given mapping.

    Raises:
        ValueError: If the mapping is infeasible.
    """
    s, h = layer.shape, machine(accelerator)
    _check_mapping(layer, mapping)
    m, n, e, p, q, r, t, order = mapping
    x = tiles(s, h, e, n, m, p, q, r, t, DRAM_ORDERS.index(order))
    for limit in _limits(s, h, x):
        if limit.need > limit.have:
            raise ValueError(
                f"Layer {layer.name!r} on {accelerator.name!r}: infeasible mapping {mapping}: "
                f"{limit.what} = {limit.need} exceeds {limit.field} = {limit.have}."
            )
    return _cost(layer, accelerator, mapping, x)


class _Limit(NamedTuple):
    """A capacity limit on a mapping: ``need <= have``."""

    what: str
    need: int
    field: str
    have: int


def _limits(s: Shape, h: Machine, x: Tiles) -> list[_Limit]:
    """Return all capacity limits on a mapping."""
    used = ifmap_banks(s, h, x.n, x.e, x.k * min(x.q * x.r, s.C))
    psums = x.n * x.e * s.F * (x.k * s.M if x.k > 1 else min(x.m, s.M))
    banks = used + -(-psums // h.bank_words)
    return [
        _Limit("PE sets r*t", x.r * x.t, "the sets that the array holds", sets_of(s, h, x.e)),
        _Limit("q*S", x.q * s.S, "ifmap_pad_words", h.ifmap_pad),
        _Limit("p*q*S", x.p * x.q * s.S, "filter_pad_words", h.filter_pad),
        _Limit("p", x.p, "psum_pad_words", h.psum_pad),
        _Limit("banks of ifmaps and psums", banks, "buffer_banks", h.banks),
    ]


def _check_mapping(layer: ConvLayer, mapping: Mapping) -> None:
    def refuse(why: str) -> None:
        raise ValueError(f"Layer {layer.name!r}: infeasible mapping {mapping}: {why}.")

    for field in ("m", "n", "e", "p", "q", "r", "t"):
        value = getattr(mapping, field)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST:
            refuse(f"{field}={value!r} must be an integer between 1 and {MOST}")
    if mapping.dram_order not in DRAM_ORDERS:
        refuse(f"dram_order={mapping.dram_order!r} is unknown; known: {', '.join(DRAM_ORDERS)}")
    if mapping.e > layer.out_height:
        refuse(f"e={mapping.e} exceeds the {layer.out_height} output rows")
    if mapping.n > layer.batch:
        refuse(f"n={mapping.n} exceeds the batch of {layer.batch}")
    if mapping.m % (mapping.p * mapping.t):
        refuse(f"m={mapping.m} is not a multiple of p*t={mapping.p * mapping.t}")


def _no_mapping(layer: ConvLayer, accelerator: Accelerator) -> str:
    """Explain why no mapping fits, with the limits that the smallest mapping exceeds."""
    s, h = layer.shape, machine(accelerator)
    smallest = tiles(s, h, 1, 1, 1, 1, 1, 1, 1, 0)
    why = [limit for limit in _limits(s, h, smallest) if limit.need > limit.have]
    reasons = "; ".join(f"{w.what} >= {w.need} exceeds {w.field} = {w.have}" for w in why)
    return (
        f"No mapping of layer {layer.name!r} with kernel={layer.kernel} and "
        f"in_width={layer.in_width} fits accelerator {accelerator.name!r}: {reasons}."
    )


def _cost(layer: ConvLayer, accelerator: Accelerator, mapping: Mapping, x: Tiles) -> LayerCost:
    s, h = layer.shape, machine(accelerator)
    c = count(s, h, x)
    counts: Table = {
        "mac": {"mac": c.macs},
        "rf": {"ifmap": c.rf_ifmap, "filter": c.rf_filter, "psum": c.rf_psum},
        "noc": {"ifmap": c.noc_ifmap, "filter": c.noc_filter, "psum": c.noc_psum},
        "buffer": {"ifmap": c.buffer_ifmap, "psum": c.buffer_psum},
        "dram": {"ifmap": c.dram_ifmap, "filter": c.dram_filter, "psum": c.dram_psum},
    }
    active_pes = -(-s.R // x.folds) * x.e * x.r * x.t
    time, folded = schedule(s, h, x), x.folds > 1
    return layer_cost(layer, accelerator, mapping, counts, time, active_pes, folded)
