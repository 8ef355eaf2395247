"""Weight-stationary arrays: the PEs keep a block of the filter matrix and stream pixels.

The filters of a group form a matrix with K = C R S rows (the terms of a dot product) and M columns.
A pass loads a block of this matrix and streams the ``n * e * F`` pixels of a tile. On a *systolic*
array of A x B PEs, a pass over T pixels takes 2 A + B + T - 2 cycles: A cycles to load the weights
and T + A + B - 2 to move the pixels through the array (SCALE-Sim; Samajdar et al., ISPASS 2020). On
a *broadcast* array (NVDLA, Simba), the rows process the channels of one kernel position, each
operand reaches all PEs in the same cycle, and a pass takes T cycles.
"""

from itertools import product

from hw_sim.accelerator import Accelerator
from hw_sim.axis import positions
from hw_sim.cost import LayerCost, Table, layer_cost
from hw_sim.layer import ZEROS_SCALE, ConvLayer, Shape
from hw_sim.machine import Cycles
from hw_sim.mapping import SystolicMapping


def cut(total: int, size: int) -> list[tuple[int, int]]:
    """Divide ``total`` into blocks: (size, number) of the full ones, then of the last one."""
    full = (total - 1) // size
    return [(size, full)] * (full > 0) + [(total - full * size, 1)]


def smallest_sizes(total: int, limit: int) -> list[int]:
    """Return, for each number of blocks, the smallest block size, if it is at most ``limit``."""
    sizes = {-(-total // number) for number in range(1, total + 1)}
    return sorted(size for size in sizes if size <= limit)


def search(layer: ConvLayer, accelerator: Accelerator, objective: str) -> LayerCost:
    """Find the best mapping over all tiles and column counts, with the fewest row blocks.

    Ties are broken in this order: objective, cycles, DRAM words, buffer words, mapping.

    Raises:
        ValueError: If no mapping fits.
    """
    s, a = layer.shape, accelerator
    terms, _ = dot_product_terms(s, a)
    rows = smallest_sizes(terms, a.array_rows)[-1]
    best: tuple[tuple[int, ...], LayerCost] | None = None
    # With dilation, the rows that a layer reads depend on the size of a block of rows.
    blocks = smallest_sizes(s.E, s.E) if s.D == 1 else range(1, s.E + 1)
    for columns, n, e in product(
        smallest_sizes(s.M, a.array_columns), smallest_sizes(s.N, s.N), blocks
    ):
        if _banks(s, a, columns, n, e) + 1 > a.buffer_banks:
            continue
        cost = _cost(layer, a, SystolicMapping(rows, columns, n, e))
        values = {"latency": cost.cycles, "energy": cost.energy_fj, "edp": cost.edp}
        words = (cost.dram_words, cost.buffer_words)
        key = (values[objective], cost.cycles, *words, e, n, rows, columns)
        if best is None or key < best[0]:
            best = key, cost
    if best is None:
        raise ValueError(
            f"No mapping of layer {layer.name!r} with in_width={layer.in_width} fits accelerator "
            f"{a.name!r}: the psums of one output row and a bank of ifmaps exceed buffer_banks = "
            f"{a.buffer_banks} of buffer_bank_bytes = {a.buffer_bank_bytes}."
        )
    return best[1]


def evaluate(layer: ConvLayer, accelerator: Accelerator, mapping: SystolicMapping) -> LayerCost:
    """Compute the cost of a given mapping.

    Raises:
        ValueError: If the mapping is infeasible. The message names the constraint.
    """
    s, a = layer.shape, accelerator
    for field, value in zip(mapping._fields, mapping, strict=True):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Infeasible mapping: {field}={value!r} must be an integer >= 1.")
    limits = (
        ("rows", mapping.rows, "array_rows", a.array_rows),
        ("columns", mapping.columns, "array_columns", a.array_columns),
        ("n", mapping.n, "the batch", s.N),
        ("e", mapping.e, "the output rows", s.E),
        (
            "banks of psums and ifmaps",
            _banks(s, a, mapping.columns, mapping.n, mapping.e) + 1,
            "buffer_banks",
            a.buffer_banks,
        ),
    )
    for what, need, field, have in limits:
        if need > have:
            raise ValueError(
                f"Layer {layer.name!r} on {a.name!r}: infeasible mapping {mapping}: {what} = "
                f"{need} exceeds {field} = {have}."
            )
    return _cost(layer, a, mapping)


def dot_product_terms(s: Shape, a: Accelerator) -> tuple[int, int]:
    """Return the dot product terms spread over the PE rows, and those processed one by one."""
    return (s.C, s.R * s.S) if a.dataflow == "broadcast" else (s.C * s.R * s.S, 1)


def _bank_words(a: Accelerator) -> int:
    return 8 * a.buffer_bank_bytes // a.word_bits


def _banks(s: Shape, a: Accelerator, columns: int, n: int, e: int) -> int:
    """Banks that the psums of a tile occupy; the ifmaps need at least one more."""
    return -(-n * e * s.F * min(columns, s.M) // _bank_words(a))


def _ifmaps_stay(s: Shape, a: Accelerator, mapping: SystolicMapping) -> bool:
    """Whether the buffer holds a tile's psums and the ifmaps of all its channels."""
    rows = positions(mapping.e, s.R, s.U, s.D)
    ifmaps = -(-mapping.n * s.C * rows * s.W // _bank_words(a))
    return ifmaps + _banks(s, a, mapping.columns, mapping.n, mapping.e) <= a.buffer_banks


def _time(s: Shape, a: Accelerator, mapping: SystolicMapping, dram: int) -> Cycles:
    """Sum the cycles of all passes; the slowest resource determines the cycles of each pass."""
    terms, turns = dot_product_terms(s, a)
    times = [0, 0, 0, 0, 0]
    skew = a.array_rows + a.array_columns - 2 if a.dataflow == "systolic" else 0
    load = 0 if a.filter_load_overlaps else a.array_rows
    for (n, n_of), (e, e_of), (k, k_of), (m, m_of) in product(
        cut(s.N, mapping.n),
        cut(s.E, mapping.e),
        cut(terms, mapping.rows),
        cut(s.M, mapping.columns),
    ):
        passes = s.G * turns * n_of * e_of * k_of * m_of
        pixels = n * e * s.F
        work = (
            load + skew + pixels,
            -(-pixels * m // a.psum_port_words_per_cycle),
            -(-pixels * k // a.ifmap_port_words_per_cycle),
            -(-k * m // a.filter_port_words_per_cycle),
        )
        for index, cycles in enumerate((max(work) + a.pass_overhead_cycles, *work)):
            times[index] += passes * cycles
    return Cycles._make((*times, dram))


def _counts(s: Shape, a: Accelerator, mapping: SystolicMapping) -> Table:
    """Count the accesses by level and operand, in words."""
    terms, turns = dot_product_terms(s, a)
    n_blocks, e_blocks = -(-s.N // mapping.n), -(-s.E // mapping.e)
    k_blocks, m_blocks = -(-terms // mapping.rows), -(-s.M // mapping.columns)
    macs = s.macs
    performed = macs - macs * s.zeros // ZEROS_SCALE
    outputs = s.N * s.G * s.M * s.E * s.F
    weights = s.G * s.M * s.C * s.R * s.S
    loads = weights * n_blocks * e_blocks
    fetched = s.rows - positions(s.E, s.R, s.U, s.D)
    fetched += sum(number * positions(e, s.R, s.U, s.D) for e, number in cut(s.E, mapping.e))
    ifmap = s.N * s.G * s.C * s.columns * fetched
    filters_stay = 8 * a.filter_buffer_bytes >= weights // s.G * a.word_bits
    return {
        "mac": {"mac": performed},
        # Each ifmap word goes to the PEs of all filters; each psum passes the PEs of all terms.
        "rf": {"ifmap": 2 * macs, "filter": performed + loads, "psum": 2 * performed},
        "noc": {"ifmap": macs, "filter": loads, "psum": macs},
        "buffer": {"ifmap": macs // s.M * m_blocks, "psum": 2 * outputs * turns * k_blocks},
        "dram": {
            "ifmap": ifmap * (1 if _ifmaps_stay(s, a, mapping) else m_blocks),
            "filter": weights if filters_stay else loads,
            "psum": outputs,
        },
    }


def _cost(layer: ConvLayer, accelerator: Accelerator, mapping: SystolicMapping) -> LayerCost:
    s, a = layer.shape, accelerator
    counts = _counts(s, a, mapping)
    words = sum(counts["dram"].values())
    dram = -(-words // a.dram_words_per_cycle) if a.dram_words_per_cycle else 0
    time = _time(s, a, mapping, dram)
    cycles = max(time.total, dram)
    if a.fill_and_drain and a.dram_words_per_cycle:
        # The array is idle while it loads the first weights and stores the last outputs.
        first = mapping.rows * mapping.columns
        last = mapping.n * mapping.e * s.F * mapping.columns
        cycles += -(-(first + last) // a.dram_words_per_cycle)
    active_pes = min(mapping.rows, dot_product_terms(s, a)[0]) * min(mapping.columns, s.M)
    return layer_cost(layer, a, mapping, counts, time._replace(total=cycles), active_pes)
