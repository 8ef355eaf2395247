"""What a row-stationary mapping costs: counts in closed form, cycles pass by pass.

The dataflow and its symbols are those of Chen et al. (JSSC 52(1), 2017). A *pass* computes ``n``
images, ``p * t`` filters, ``q * r`` channels and ``e`` output rows. Everything is an int64; the
kernels release the GIL and hold no state, so that results do not depend on threads or order.
"""

from functools import lru_cache
from math import lcm
from typing import NamedTuple

from numba import njit

from hw_sim.accelerator import Accelerator
from hw_sim.layer import ZEROS_SCALE, Shape


class Machine(NamedTuple):
    """An accelerator as the kernels see it: integers alone, ports as time per word.

    Attributes:
        A: Rows of PEs.
        B: Columns of PEs.
        ifmap_pad: Words of ifmap in a PE.
        filter_pad: Words of filter in a PE.
        psum_pad: Psums in a PE.
        banks: Banks of the buffer.
        bank_words: Words of a bank.
        filter_words: Words of the filter buffer.
        ticks: Ticks of a cycle: the least that makes every port's time per word whole.
        ifmap_ticks: Ticks per ifmap word.
        filter_ticks: Ticks per filter word.
        psum_ticks: Ticks per psum (read and written at the same time).
        dram_words: DRAM words per cycle; 0 where it never waits.
        fill: 1 where the first load and the last store count.
        overlap: 1 where filters load behind the pass before.
        overhead: Cycles lost per pass.
        mac_fj: Energy of a MAC; the others are named alike.
    """

    A: int
    B: int
    ifmap_pad: int
    filter_pad: int
    psum_pad: int
    banks: int
    bank_words: int
    filter_words: int
    ticks: int
    ifmap_ticks: int
    filter_ticks: int
    psum_ticks: int
    dram_words: int
    fill: int
    overlap: int
    overhead: int
    mac_fj: int
    rf_ifmap_fj: int
    rf_filter_fj: int
    rf_psum_fj: int
    noc_fj: int
    buffer_fj: int
    dram_fj: int
    static_uw: int
    mhz: int


class Tiles(NamedTuple):
    """A mapping of one shape, with what follows from it.

    Attributes:
        e: Output rows of a pass, and so on for ``n``, ``m``, ``p``, ``q``, ``r``, ``t``.
        order: Index of the DRAM order: 0 is NEM, 1 is MNE.
        k: Groups of a pass.
        tm: PE sets that share the filters of one group.
        folds: Parts into which a kernel taller than the array is cut.
        nN: Blocks of images; likewise ``nE``, ``nC``, ``nM``, ``nG``.
        nH: Times that the buffer's psums are exchanged for other filters'.
    """

    e: int
    n: int
    m: int
    p: int
    q: int
    r: int
    t: int
    order: int
    k: int
    tm: int
    folds: int
    nN: int
    nE: int
    nC: int
    nM: int
    nG: int
    nH: int


class Counts(NamedTuple):
    """Accesses of a mapping, in words (MACs: operations), summed over the layer.

    Attributes:
        macs: MACs performed: those on zero ifmap values are gated.
        rf_ifmap: Accesses to the PEs' ifmap words, writes included; likewise filter and psum.
        noc_ifmap: Ifmap words delivered to PEs; likewise filters.
        noc_psum: Hops of psums from PE to PE.
        buffer_ifmap: Ifmap words that the buffer sends to the array.
        buffer_psum: Psums read plus psums written.
        dram_ifmap: Ifmap words fetched; likewise filters.
        dram_psum: Ofmap words stored.
    """

    macs: int
    rf_ifmap: int
    rf_filter: int
    rf_psum: int
    noc_ifmap: int
    noc_filter: int
    noc_psum: int
    buffer_ifmap: int
    buffer_psum: int
    dram_ifmap: int
    dram_filter: int
    dram_psum: int


class Cycles(NamedTuple):
    """Time of a mapping, in cycles.

    Attributes:
        total: The layer's latency.
        compute: What the PEs alone would take; likewise the ports and DRAM.
    """

    total: int
    compute: int
    psum: int
    ifmap: int
    filter: int
    dram: int


@lru_cache(maxsize=256)
def machine(accelerator: Accelerator) -> Machine:
    """The integers of an accelerator that the kernels read."""
    a = accelerator
    ifmap, psum = a.ifmap_port_words_per_cycle, a.psum_port_words_per_cycle
    ticks = lcm(ifmap, psum, a.filter_port_words_per_cycle)
    return Machine(
        A=a.array_rows,
        B=a.array_columns,
        ifmap_pad=a.ifmap_pad_words,
        filter_pad=a.filter_pad_words,
        psum_pad=a.psum_pad_words,
        banks=a.buffer_banks,
        bank_words=8 * a.buffer_bank_bytes // a.word_bits,
        filter_words=8 * a.filter_buffer_bytes // a.word_bits,
        ticks=ticks,
        ifmap_ticks=ticks // ifmap,
        filter_ticks=ticks // a.filter_port_words_per_cycle,
        psum_ticks=ticks // psum,
        dram_words=a.dram_words_per_cycle or 0,
        fill=int(a.fill_and_drain),
        overlap=int(a.filter_load_overlaps),
        overhead=a.pass_overhead_cycles,
        mac_fj=a.mac_fj,
        rf_ifmap_fj=a.rf_ifmap_fj,
        rf_filter_fj=a.rf_filter_fj,
        rf_psum_fj=a.rf_psum_fj,
        noc_fj=a.noc_fj,
        buffer_fj=a.buffer_fj,
        dram_fj=a.dram_fj,
        static_uw=a.static_power_uw,
        mhz=a.clock_mhz,
    )


@njit(cache=True, nogil=True, inline="always")
def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up, for ``a >= 0`` and ``b > 0``."""
    return (a + b - 1) // b


@njit(cache=True, nogil=True)
def tiles(
    s: Shape, h: Machine, e: int, n: int, m: int, p: int, q: int, r: int, t: int, order: int
) -> Tiles:
    """Derive the loop bounds of a mapping. Feasibility is the caller's to check."""
    k = 1
    if s.G > 1:
        k = min(max(t // ceil_div(s.M, p), 1), s.G)
    tm = ceil_div(s.M, p) if k > 1 else t
    return Tiles(
        e=e,
        n=n,
        m=m,
        p=p,
        q=q,
        r=r,
        t=t,
        order=order,
        k=k,
        tm=tm,
        folds=ceil_div(s.R, h.A),
        nN=ceil_div(s.N, n),
        nE=ceil_div(s.E, e),
        nC=ceil_div(s.C, q * r),
        nM=ceil_div(s.M, p * tm),
        nG=ceil_div(s.G, k),
        nH=ceil_div(s.M, m),
    )


@njit(cache=True, nogil=True)
def count(s: Shape, h: Machine, x: Tiles) -> Counts:
    """Accesses of a mapping, in closed form (remainders are exact: block sizes add up)."""
    width = (s.F - 1) * s.U + s.S
    channels = s.N * s.G * s.C
    weights = s.G * s.M * s.C * s.R * s.S
    outputs = s.N * s.G * s.M * s.E * s.F
    macs = outputs * s.C * s.R * s.S
    performed = macs - macs * s.zeros // ZEROS_SCALE
    # Rows that a pass reads, summed over row blocks and folds.
    rows_read = x.folds * (s.E - x.nE) * s.U + x.nE * s.R
    # Rows fetched from DRAM: neighbouring blocks share R - U rows, and each fetches them.
    rows_fetched = s.rows + (x.nE - 1) * (s.R - s.U)
    # The multicast tags are set once per layer, so the sets of a last, partly filled block listen.
    noc_ifmap = channels * width * s.R * s.E * x.nM * x.tm
    noc_filter = weights * x.nN * s.E
    resident = x.nC == 1 and (x.order == 0 or x.nN * x.nE == 1)
    return Counts(
        macs=performed,
        rf_ifmap=macs + noc_ifmap,
        rf_filter=performed + noc_filter,
        rf_psum=2 * performed,
        noc_ifmap=noc_ifmap,
        noc_filter=noc_filter,
        noc_psum=outputs * x.nC * s.R * x.r,
        buffer_ifmap=channels * width * x.nM * rows_read,
        buffer_psum=2 * outputs * x.nC * x.folds,
        dram_ifmap=channels * s.columns * rows_fetched * (1 if resident else x.nH),
        dram_filter=weights * (1 if filters_stay(s, h, x, x.order) else x.nN * x.nE),
        dram_psum=outputs,
    )


@njit(cache=True, nogil=True)
def filters_stay(s: Shape, h: Machine, x: Tiles, order: int) -> bool:
    """Whether the filter buffer keeps filters while the images and rows change."""
    held = s.M if order == 0 else min(x.m, s.M)
    return x.k * held * s.C * s.R * s.S <= h.filter_words


@njit(cache=True, nogil=True)
def dynamic_fj(h: Machine, c: Counts) -> int:
    """Energy of the accesses, in fJ."""
    return (
        c.macs * h.mac_fj
        + c.rf_ifmap * h.rf_ifmap_fj
        + c.rf_filter * h.rf_filter_fj
        + c.rf_psum * h.rf_psum_fj
        + (c.noc_ifmap + c.noc_filter + c.noc_psum) * h.noc_fj
        + (c.buffer_ifmap + c.buffer_psum) * h.buffer_fj
        + (c.dram_ifmap + c.dram_filter + c.dram_psum) * h.dram_fj
    )


@njit(cache=True, nogil=True)
def dram_words(c: Counts) -> int:
    """Words moved from and to DRAM."""
    return c.dram_ifmap + c.dram_filter + c.dram_psum


@njit(cache=True, nogil=True)
def static_fj(h: Machine, cycles: int) -> int:
    """Energy drawn in ``cycles`` whatever happens in them: 1 uW for 1 us is 1000 fJ."""
    per_us = h.static_uw * 1000
    return cycles // h.mhz * per_us + cycles % h.mhz * per_us // h.mhz


@njit(cache=True, nogil=True)
def _sizes(total: int, size: int, blocks: int, last: int) -> tuple[int, int]:
    """Size and number of the full blocks (``last`` 0) or of the last block (``last`` 1)."""
    if last:
        return total - (blocks - 1) * size, 1
    return min(size, total), blocks - 1


@njit(cache=True, nogil=True)
def schedule(s: Shape, h: Machine, x: Tiles) -> Cycles:
    """Cycles of a mapping: the slowest resource of every pass, summed over the kinds of pass.

    Along each of N, E, C, M and G a block is full or the last one, and of the folds of a tall
    kernel one may be shorter: at most 64 kinds of pass, each counted as often as it occurs.
    """
    width = (s.F - 1) * s.U + s.S
    fold_rows = ceil_div(s.R, x.folds)
    ticks = compute = psum = ifmap = filters = 0
    for kind in range(64):
        nb, n_times = _sizes(s.N, x.n, x.nN, kind & 1)
        eb, e_times = _sizes(s.E, x.e, x.nE, kind >> 1 & 1)
        cb, c_times = _sizes(s.C, x.q * x.r, x.nC, kind >> 2 & 1)
        mb, m_times = _sizes(s.M, x.p * x.tm, x.nM, kind >> 3 & 1)
        gb, g_times = _sizes(s.G, x.k, x.nG, kind >> 4 & 1)
        rb, r_times = _sizes(s.R, fold_rows, x.folds, kind >> 5 & 1)
        times = n_times * e_times * c_times * m_times * g_times * r_times
        if times == 0:
            continue
        a = nb * s.F * s.S * ceil_div(cb, x.r) * ceil_div(mb, x.tm) * h.ticks
        b = gb * nb * mb * eb * s.F * h.psum_ticks
        c = gb * nb * cb * ((eb - 1) * s.U + rb) * width * h.ifmap_ticks
        d = gb * mb * cb * rb * s.S * h.filter_ticks
        one = max(a, b, c, d) if h.overlap else max(a, b, c) + d
        ticks += times * (one + h.overhead * h.ticks)
        compute += times * a
        psum += times * b
        ifmap += times * c
        filters += times * d
    total = ceil_div(ticks, h.ticks)
    dram = 0
    if h.dram_words:
        dram = ceil_div(dram_words(count(s, h, x)), h.dram_words)
        total = max(total, dram)
    if h.fill:
        total += fill_and_drain(s, h, x)
    return Cycles(
        total,
        ceil_div(compute, h.ticks),
        ceil_div(psum, h.ticks),
        ceil_div(ifmap, h.ticks),
        ceil_div(filters, h.ticks),
        dram,
    )


@njit(cache=True, nogil=True)
def fill_and_drain(s: Shape, h: Machine, x: Tiles) -> int:
    """Cycles before the first pass computes and after the last one: a full pass in, psums out."""
    width = (s.F - 1) * s.U + s.S
    rows = (min(x.e, s.E) - 1) * s.U + s.R
    n, c, m = min(x.n, s.N), min(x.q * x.r, s.C), min(x.p * x.tm, s.M)
    ifmap = x.k * n * c * rows * width
    filters = x.k * m * c * s.R * s.S
    psums = x.k * n * m * min(x.e, s.E) * s.F
    ticks = max(ifmap * h.ifmap_ticks, filters * h.filter_ticks) + psums * h.psum_ticks
    cycles = ceil_div(ticks, h.ticks)
    if h.dram_words:
        cycles += ceil_div(ifmap + filters, h.dram_words) + ceil_div(psums, h.dram_words)
    return cycles
