"""Cost of a layer on a weight-stationary array: input checks, kernel calls, and the result."""

from hw_sim.accelerator import Accelerator
from hw_sim.cost import LayerCost, Table, layer_cost
from hw_sim.layer import ConvLayer
from hw_sim.machine import machine
from hw_sim.mapping import SystolicMapping
from hw_sim.row_stationary import OBJECTIVES
from hw_sim.weight_stationary import count, dot_product_terms, psum_banks, schedule, search_shape


def search(layer: ConvLayer, accelerator: Accelerator, objective: str) -> LayerCost:
    """Find the best mapping of a layer on a weight-stationary array.

    Ties are broken in this order: objective, cycles, DRAM words, buffer words, e, n, rows, columns.

    Raises:
        ValueError: If no mapping fits.
    """
    a = accelerator
    key = search_shape(layer.shape, machine(a), OBJECTIVES.index(objective))
    if key[2] == 2**62:
        raise ValueError(
            f"No mapping of layer {layer.name!r} with in_width={layer.in_width} fits accelerator "
            f"{a.name!r}: the psums of one output row and a bank of ifmaps exceed buffer_banks = "
            f"{a.buffer_banks} of buffer_bank_bytes = {a.buffer_bank_bytes}."
        )
    _, _, _, _, _, e, n, rows, columns = key
    return _cost(layer, a, SystolicMapping(rows, columns, n, e))


def evaluate(layer: ConvLayer, accelerator: Accelerator, mapping: SystolicMapping) -> LayerCost:
    """Compute the cost of a given mapping.

    Raises:
        ValueError: If the mapping is infeasible. The message names the constraint.
    """
    s, a = layer.shape, accelerator

    def check(what: str, need: int, field: str, have: int) -> None:
        if need > have:
            raise ValueError(
                f"Layer {layer.name!r} on {a.name!r}: infeasible mapping {mapping}: {what} = "
                f"{need} exceeds {field} = {have}."
            )

    for field, value in zip(mapping._fields, mapping, strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Infeasible mapping: {field}={value!r} must be an integer >= 1.")
    check("rows", mapping.rows, "array_rows", a.array_rows)
    check("columns", mapping.columns, "array_columns", a.array_columns)
    check("n", mapping.n, "the batch", s.N)
    check("e", mapping.e, "the output rows", s.E)
    banks = psum_banks(s, machine(a), mapping) + 1
    check("banks of psums and ifmaps", banks, "buffer_banks", a.buffer_banks)
    return _cost(layer, a, mapping)


def _cost(layer: ConvLayer, accelerator: Accelerator, mapping: SystolicMapping) -> LayerCost:
    s, h = layer.shape, machine(accelerator)
    c = count(s, h, mapping)
    counts: Table = {
        "mac": {"mac": c.macs},
        "rf": {"ifmap": c.rf_ifmap, "filter": c.rf_filter, "psum": c.rf_psum},
        "noc": {"ifmap": c.noc_ifmap, "filter": c.noc_filter, "psum": c.noc_psum},
        "buffer": {"ifmap": c.buffer_ifmap, "psum": c.buffer_psum},
        "dram": {"ifmap": c.dram_ifmap, "filter": c.dram_filter, "psum": c.dram_psum},
    }
    time = schedule(s, h, mapping, c)
    active_pes = min(mapping.rows, dot_product_terms(s, h)[0]) * min(mapping.columns, s.M)
    return layer_cost(layer, accelerator, mapping, counts, time, active_pes)
