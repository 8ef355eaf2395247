"""Compiled model of weight-stationary arrays: the PEs keep filters and stream pixels.

The filters of a group form a matrix with K = C R S rows (the terms of a dot product) and M columns.
A pass loads a block of this matrix and streams the ``n * e * F`` pixels of a tile. On a *systolic*
array of A x B PEs, a pass over T pixels takes 2 A + B + T - 2 cycles: A cycles to load the weights
and T + A + B - 2 to move the pixels through the array (SCALE-Sim; Samajdar et al., ISPASS 2020). On
a *broadcast* array (NVDLA, Simba), the rows process the channels of one kernel position, each
operand reaches all PEs in the same cycle, and a pass takes T cycles.

All values are int64; the kernels have no state. They call none of the other dataflow's kernels,
because Numba's disk cache tracks changes of a kernel's own file only; the few that both need
(``ceil_div``, ``next_size``, ``score``) are the same as in :mod:`hw_sim.row_stationary`.
"""

from numba import njit

from hw_sim.layer import ZEROS_SCALE, Shape
from hw_sim.machine import Counts, Cycles, Machine
from hw_sim.mapping import SystolicMapping

MOST_FJ = 2**62 - 1
"""Larger energies count as this one, so that int64 cannot overflow."""
_LARGE = 1 << 62
_HALF = 2**31 - 1

Key = tuple[int, int, int, int, int, int, int, int, int]


@njit(cache=True, nogil=True, inline="always")
def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up, for ``a >= 0`` and ``b > 0``."""
    return (a + b - 1) // b


@njit(cache=True, nogil=True)
def dot_product_terms(s: Shape, h: Machine) -> tuple[int, int]:
    """Return the dot product terms spread over the PE rows, and those processed one by one."""
    return (s.C, s.R * s.S) if h.broadcast else (s.C * s.R * s.S, 1)


@njit(cache=True, nogil=True)
def rows_read(s: Shape, outputs: int) -> int:
    """Rows that adjacent output rows read: :func:`hw_sim.axis.positions`, compiled."""
    return outputs * s.R - max(outputs - s.D, 0) * max(s.R - s.U, 0)


@njit(cache=True, nogil=True)
def psum_banks(s: Shape, h: Machine, x: SystolicMapping) -> int:
    """Banks that the psums of a tile occupy; the ifmaps need at least one more."""
    return ceil_div(x.n * x.e * s.F * min(x.columns, s.M), h.bank_words)


@njit(cache=True, nogil=True)
def ifmaps_stay(s: Shape, h: Machine, x: SystolicMapping) -> bool:
    """Whether the buffer holds a tile's psums and the ifmaps of all its channels."""
    ifmaps = ceil_div(x.n * s.C * rows_read(s, x.e) * s.W, h.bank_words)
    return ifmaps + psum_banks(s, h, x) <= h.banks


@njit(cache=True, nogil=True)
def count(s: Shape, h: Machine, x: SystolicMapping) -> Counts:
    """Count the accesses of a mapping in closed form; smaller last blocks are counted exactly."""
    terms, turns = dot_product_terms(s, h)
    n_blocks, e_blocks = ceil_div(s.N, x.n), ceil_div(s.E, x.e)
    k_blocks, m_blocks = ceil_div(terms, x.rows), ceil_div(s.M, x.columns)
    outputs = s.N * s.G * s.M * s.E * s.F
    weights = s.G * s.M * s.C * s.R * s.S
    macs = outputs * s.C * s.R * s.S
    performed = macs - macs // ZEROS_SCALE * s.zeros - macs % ZEROS_SCALE * s.zeros // ZEROS_SCALE
    loads = weights * n_blocks * e_blocks
    # Rows read from DRAM: each block of rows also reads those that it shares with other blocks.
    blocks = rows_read(s, s.E - (e_blocks - 1) * x.e) + (e_blocks - 1) * rows_read(s, x.e)
    fetched = s.rows + blocks - rows_read(s, s.E)
    ifmap = s.N * s.G * s.C * s.columns * fetched
    filters_stay = weights // s.G <= h.filter_words
    return Counts(
        macs=performed,
        # Each ifmap word goes to the PEs of all filters; each psum passes the PEs of all terms.
        rf_ifmap=2 * macs,
        rf_filter=performed + loads,
        rf_psum=2 * performed,
        noc_ifmap=macs,
        noc_filter=loads,
        noc_psum=macs,
        buffer_ifmap=macs // s.M * m_blocks,
        buffer_psum=2 * outputs * turns * k_blocks,
        dram_ifmap=ifmap * (1 if ifmaps_stay(s, h, x) else m_blocks),
        dram_filter=weights if filters_stay else loads,
        dram_psum=outputs,
    )


@njit(cache=True, nogil=True)
def dram_words(c: Counts) -> int:
    """Words read from and written to DRAM."""
    return c.dram_ifmap + c.dram_filter + c.dram_psum


@njit(cache=True, nogil=True)
def _sizes(total: int, size: int, last: int) -> tuple[int, int]:
    """Return the size and number of the full blocks (``last`` 0) or the last block (``last`` 1)."""
    full = (total - 1) // size
    return (total - full * size, 1) if last else (size, full)


@njit(cache=True, nogil=True)
def schedule(s: Shape, h: Machine, x: SystolicMapping, c: Counts) -> Cycles:
    """Sum the cycles of all passes; the slowest resource determines the cycles of each pass."""
    terms, turns = dot_product_terms(s, h)
    skew = 0 if h.broadcast else h.A + h.B - 2
    load = 0 if h.overlap else h.A
    psum_port = h.ticks // h.psum_ticks
    ifmap_port, filter_port = h.ticks // h.ifmap_ticks, h.ticks // h.filter_ticks
    total = compute = psum = ifmap = filters = 0
    for kind in range(16):
        nb, n_times = _sizes(s.N, x.n, kind & 1)
        eb, e_times = _sizes(s.E, x.e, kind >> 1 & 1)
        kb, k_times = _sizes(terms, x.rows, kind >> 2 & 1)
        mb, m_times = _sizes(s.M, x.columns, kind >> 3 & 1)
        passes = s.G * turns * n_times * e_times * k_times * m_times
        if passes == 0:
            continue
        pixels = nb * eb * s.F
        a = load + skew + pixels
        b = ceil_div(pixels * mb, psum_port)
        i = ceil_div(pixels * kb, ifmap_port)
        d = ceil_div(kb * mb, filter_port)
        total += passes * (max(a, b, i, d) + h.overhead)
        compute += passes * a
        psum += passes * b
        ifmap += passes * i
        filters += passes * d
    dram = 0
    if h.dram_words:
        dram = ceil_div(dram_words(c), h.dram_words)
        total = max(total, dram)
        if h.fill:
            # The array is idle while it loads the first weights and stores the last outputs.
            ends = x.rows * x.columns + x.n * x.e * s.F * x.columns
            total += ceil_div(ends, h.dram_words)
    return Cycles(total, compute, psum, ifmap, filters, dram)


@njit(cache=True, nogil=True)
def energy_fj(h: Machine, c: Counts, cycles: int) -> int:
    """Energy of the accesses, and static energy of ``cycles``, in fJ; at most ``MOST_FJ``."""
    per_us = h.static_uw * 1000
    noc = c.noc_ifmap + c.noc_filter + c.noc_psum
    buffer, dram = c.buffer_ifmap + c.buffer_psum, dram_words(c)
    size = float(c.macs) * h.mac_fj + float(c.rf_ifmap) * h.rf_ifmap_fj
    size += float(c.rf_filter) * h.rf_filter_fj + float(c.rf_psum) * h.rf_psum_fj
    size += float(noc) * h.noc_fj + float(buffer) * h.buffer_fj + float(dram) * h.dram_fj
    if size + float(cycles) / h.mhz * per_us >= MOST_FJ:
        return MOST_FJ
    return (
        c.macs * h.mac_fj
        + c.rf_ifmap * h.rf_ifmap_fj
        + c.rf_filter * h.rf_filter_fj
        + c.rf_psum * h.rf_psum_fj
        + noc * h.noc_fj
        + buffer * h.buffer_fj
        + dram * h.dram_fj
        + cycles // h.mhz * per_us
        + cycles % h.mhz * per_us // h.mhz
    )


@njit(cache=True, nogil=True)
def score(objective: int, cycles: int, energy: int) -> tuple[int, int]:
    """Return the value to minimise as two digits in base 2**62, high digit first."""
    if objective == 0:
        return 0, cycles
    if objective == 1:
        return 0, energy
    a1, a0, b1, b0 = energy >> 31, energy & _HALF, cycles >> 31, cycles & _HALF
    middle = a1 * b0 + a0 * b1
    low = a0 * b0 + ((middle & _HALF) << 31)
    return a1 * b1 + (middle >> 31) + (low >> 62), low & (_LARGE - 1)


@njit(cache=True, nogil=True)
def next_size(total: int, size: int) -> int:
    """Return the smallest block size that yields fewer blocks of ``total`` than ``size``.

    Returns:
        The block size, or ``total + 1`` if ``size`` already yields one block.
    """
    blocks = ceil_div(total, size)
    return total + 1 if blocks == 1 else ceil_div(total, blocks - 1)


@njit(cache=True, nogil=True)
def search_shape(s: Shape, h: Machine, objective: int) -> Key:
    """Find the best mapping over all tiles and column counts, with the fewest blocks of terms.

    For each number of blocks, only the smallest block size is tried; only blocks of output rows of
    a dilated layer, where the rows read depend on the block's size, have all sizes.

    Returns:
        (objective high, objective low, cycles, DRAM words, buffer words, e, n, rows, columns);
        ``cycles`` is 2**62 if no mapping fits.
    """
    none = _LARGE
    best = (none, none, none, none, none, none, none, none, none)
    terms, _ = dot_product_terms(s, h)
    rows = ceil_div(terms, ceil_div(terms, h.A))
    columns = 1
    while columns <= min(s.M, h.B):
        n = 1
        while n <= s.N:
            e = 1
            while e <= s.E:
                x = SystolicMapping(rows, columns, n, e)
                if psum_banks(s, h, x) >= h.banks:
                    break  # Larger blocks of rows have more psums.
                c = count(s, h, x)
                cycles = schedule(s, h, x, c).total
                high, low = score(objective, cycles, energy_fj(h, c, cycles))
                buffer = c.buffer_ifmap + c.buffer_psum
                key = (high, low, cycles, dram_words(c), buffer, e, n, rows, columns)
                best = key if key < best else best
                e = next_size(s.E, e) if s.D == 1 else e + 1
            n = next_size(s.N, n)
        columns = next_size(s.M, columns)
    return best
