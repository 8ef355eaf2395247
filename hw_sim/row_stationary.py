"""Compiled row-stationary model: accesses in closed form, cycles per pass, exhaustive search.

The dataflow and its symbols follow Chen et al. (JSSC 52(1), 2017). A *pass* computes ``n`` images,
``p * t`` filters, ``q * r`` channels and ``e`` output rows. All values are int64; the kernels
release the GIL and have no state, so results do not depend on threads or order.

For each number of blocks along an axis, the search considers only the smallest block size that
yields it, because a larger block never costs less (docs/hw_sim.md, "What the search skips"). Only
a dilated layer's blocks of output rows have all sizes. Ties are broken in this order: objective,
cycles, DRAM words, buffer words, e, n, m, p, q, r, t, order.

All kernels are in this file because Numba's disk cache tracks changes of a kernel's own file only.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from hw_sim.layer import ZEROS_SCALE, Shape
from hw_sim.machine import Counts, Cycles, Machine, Tiles

OBJECTIVES = ("latency", "energy", "edp")
"""Known objectives; the kernels use their index."""

MOST_FJ = 2**62 - 1
"""Larger energies count as this one, so that int64 cannot overflow."""
_LARGE = 1 << 62
_HALF = 2**31 - 1

Score = tuple[int, int]
Key = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]


@njit(cache=True, nogil=True, inline="always")
def ceil_div(a: int, b: int) -> int:
    """``a / b`` rounded up, for ``a >= 0`` and ``b > 0``."""
    return (a + b - 1) // b


@njit(cache=True, nogil=True)
def rows_read(s: Shape, outputs: int, taps: int) -> int:
    """Rows that adjacent output rows read: :func:`hw_sim.axis.positions`, compiled."""
    return outputs * taps - max(outputs - s.D, 0) * max(taps - s.U, 0)


@njit(cache=True, nogil=True)
def tiles(
    s: Shape, h: Machine, e: int, n: int, m: int, p: int, q: int, r: int, t: int, order: int
) -> Tiles:
    """Derive the loop bounds of a mapping. The caller checks that the mapping is feasible."""
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
    """Count the accesses of a mapping in closed form; smaller last blocks are counted exactly."""
    channels = s.N * s.G * s.C
    weights = s.G * s.M * s.C * s.R * s.S
    outputs = s.N * s.G * s.M * s.E * s.F
    macs = outputs * s.C * s.R * s.S
    performed = macs - macs // ZEROS_SCALE * s.zeros - macs % ZEROS_SCALE * s.zeros // ZEROS_SCALE
    # Rows that a pass reads, summed over row blocks and folds.
    last, fold = s.E - (x.nE - 1) * x.e, ceil_div(s.R, x.folds)
    last_fold = s.R - (x.folds - 1) * fold
    rows = rows_read(s, last, last_fold) + (x.folds - 1) * rows_read(s, last, fold)
    if x.nE > 1:
        each = rows_read(s, x.e, last_fold) + (x.folds - 1) * rows_read(s, x.e, fold)
        rows += (x.nE - 1) * each
    # Rows read from DRAM: each block of rows also reads those that it shares with other blocks.
    blocks = rows_read(s, last, s.R) + (x.nE - 1) * rows_read(s, x.e, s.R)
    rows_fetched = s.rows + blocks - rows_read(s, s.E, s.R)
    # Multicast tags are set once per layer, so idle sets of a smaller last block also receive data.
    noc_ifmap = channels * s.W * s.R * s.E * x.nM * x.tm
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
        buffer_ifmap=channels * s.W * x.nM * rows,
        buffer_psum=2 * outputs * x.nC * x.folds,
        dram_ifmap=channels * s.columns * rows_fetched * (1 if resident else x.nH),
        dram_filter=weights * (1 if filters_stay(s, h, x, x.order) else x.nN * x.nE),
        dram_psum=outputs,
    )


@njit(cache=True, nogil=True)
def filters_stay(s: Shape, h: Machine, x: Tiles, order: int) -> bool:
    """Whether the filter buffer can keep the filters while images and rows change."""
    held = s.M if order == 0 else min(x.m, s.M)
    return x.k * held * s.C * s.R * s.S <= h.filter_words


@njit(cache=True, nogil=True)
def dynamic_fj(h: Machine, c: Counts) -> int:
    """Energy of the accesses, in fJ; ``MOST_FJ`` if it is larger."""
    noc = c.noc_ifmap + c.noc_filter + c.noc_psum
    buffer, dram = c.buffer_ifmap + c.buffer_psum, dram_words(c)
    size = float(c.macs) * h.mac_fj + float(c.rf_ifmap) * h.rf_ifmap_fj
    size += float(c.rf_filter) * h.rf_filter_fj + float(c.rf_psum) * h.rf_psum_fj
    size += float(noc) * h.noc_fj + float(buffer) * h.buffer_fj + float(dram) * h.dram_fj
    if size >= MOST_FJ:
        return MOST_FJ
    return (
        c.macs * h.mac_fj
        + c.rf_ifmap * h.rf_ifmap_fj
        + c.rf_filter * h.rf_filter_fj
        + c.rf_psum * h.rf_psum_fj
        + noc * h.noc_fj
        + buffer * h.buffer_fj
        + dram * h.dram_fj
    )


@njit(cache=True, nogil=True)
def dram_words(c: Counts) -> int:
    """Words read from and written to DRAM."""
    return c.dram_ifmap + c.dram_filter + c.dram_psum


@njit(cache=True, nogil=True)
def energy_fj(h: Machine, dynamic: int, cycles: int) -> int:
    """``dynamic`` and the static energy of ``cycles`` (1 uW for 1 us is 1000 fJ) in fJ.

    Returns:
        The sum; ``MOST_FJ`` if it is larger.
    """
    per_us = h.static_uw * 1000
    if float(cycles) / h.mhz * per_us >= MOST_FJ:
        return MOST_FJ
    static = cycles // h.mhz * per_us + cycles % h.mhz * per_us // h.mhz
    return min(dynamic + static, MOST_FJ)


@njit(cache=True, nogil=True)
def _sizes(total: int, size: int, blocks: int, last: int) -> tuple[int, int]:
    """Return the size and number of the full blocks (``last`` 0) or the last block (``last`` 1)."""
    if last:
        return total - (blocks - 1) * size, 1
    return min(size, total), blocks - 1


@njit(cache=True, nogil=True)
def schedule(s: Shape, h: Machine, x: Tiles) -> Cycles:
    """Sum the cycles of all passes; the slowest resource determines the cycles of each pass.

    Along N, E, C, M and G a block is either full or the last one, and the last fold of a tall
    kernel may be shorter. This yields at most 64 kinds of pass, each weighted by its number.
    """
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
        c = gb * nb * cb * rows_read(s, eb, rb) * s.W * h.ifmap_ticks
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
    """Cycles to load the inputs of the first pass and to store the psums of the last pass."""
    rows = rows_read(s, min(x.e, s.E), s.R)
    n, c, m = min(x.n, s.N), min(x.q * x.r, s.C), min(x.p * x.tm, s.M)
    ifmap = x.k * n * c * rows * s.W
    filters = x.k * m * c * s.R * s.S
    psums = x.k * n * m * min(x.e, s.E) * s.F
    ticks = max(ifmap * h.ifmap_ticks, filters * h.filter_ticks) + psums * h.psum_ticks
    cycles = ceil_div(ticks, h.ticks)
    if h.dram_words:
        cycles += ceil_div(ifmap + filters, h.dram_words) + ceil_div(psums, h.dram_words)
    return cycles


@njit(cache=True, nogil=True)
def next_size(total: int, size: int) -> int:
    """Return the smallest block size that yields fewer blocks of ``total`` than ``size``.

    Returns:
        The block size, or ``total + 1`` if ``size`` already yields one block.
    """
    blocks = ceil_div(total, size)
    return total + 1 if blocks == 1 else ceil_div(total, blocks - 1)


@njit(cache=True, nogil=True)
def wide_product(a: int, b: int) -> tuple[int, int]:
    """``a * b`` for ``0 <= a, b < 2**62`` as two digits in base 2**62, high digit first."""
    a1, a0, b1, b0 = a >> 31, a & _HALF, b >> 31, b & _HALF
    middle = a1 * b0 + a0 * b1
    low = a0 * b0 + ((middle & _HALF) << 31)
    return a1 * b1 + (middle >> 31) + (low >> 62), low & (_LARGE - 1)


@njit(cache=True, nogil=True)
def score(objective: int, cycles: int, energy: int) -> tuple[int, int]:
    """Return the value to minimise as two digits (see :func:`wide_product`)."""
    if objective == 0:
        return 0, cycles
    if objective == 1:
        return 0, energy
    return wide_product(energy, cycles)


@njit(cache=True, nogil=True)
def sets_of(s: Shape, h: Machine, e: int) -> int:
    """Return the number of PE sets, R rows by ``e`` columns each, that fit in the array.

    A set wider than the array is split into strips that are stacked vertically; a kernel with more
    rows than the array is processed in ``ceil(R / A)`` parts.
    """
    vertical = h.A // ceil_div(s.R, ceil_div(s.R, h.A))
    return vertical * (h.B // e) if e <= h.B else vertical // ceil_div(e, h.B)


@njit(cache=True, nogil=True)
def ifmap_banks(s: Shape, h: Machine, n: int, e: int, channels: int) -> int:
    """Banks that the ifmaps of a pass occupy; ``channels`` is the sum over the pass's groups."""
    return ceil_div(n * channels * rows_read(s, e, s.R) * s.W, h.bank_words)


@njit(cache=True, nogil=True)
def filters_held(s: Shape, h: Machine, n: int, e: int, banks: int) -> int:
    """Number of filters, over all groups of a pass, whose psums fit in ``banks``."""
    return banks * h.bank_words // (n * e * s.F)


@njit(cache=True, nogil=True)
def choose_m(s: Shape, h: Machine, x: Tiles, order: int) -> int:
    """Return the largest ``m``, a multiple of ``p * t``, that the buffers hold; 0 if none fits.

    If a larger ``m`` has the same cost, the smallest one is returned, as the tie-break requires.
    """
    banks = h.banks - ifmap_banks(s, h, x.n, x.e, x.k * min(x.q * x.r, s.C))
    if banks <= 0:
        return 0
    step = x.p * x.t
    held = filters_held(s, h, x.n, x.e, banks)
    if x.k > 1:
        return step if x.k * s.M <= held else 0
    if order == 1:
        held = min(held, h.filter_words // (s.C * s.R * s.S))
    if held < min(step, s.M):
        return 0
    if order == 0 and x.nC == 1:
        return step
    blocks = x.nM if held >= s.M else held // step
    return ceil_div(x.nM, ceil_div(x.nM, blocks)) * step


@njit(cache=True, nogil=True)
def at_least(s: Shape, h: Machine, x: Tiles, c: Counts) -> int:
    """Lower bound of a mapping's cycles: the busiest resource never waits for another."""
    compute = s.N * x.nG * x.nE * s.F * s.S * x.folds
    compute *= ceil_div(s.M, x.tm) * ceil_div(s.C, x.r)
    filters = s.G * s.M * s.C * s.R * s.S * x.nN * x.nE * h.filter_ticks
    ticks = max(compute * h.ticks, c.buffer_psum // 2 * h.psum_ticks)
    ticks = max(ticks, c.buffer_ifmap * h.ifmap_ticks)
    ticks = max(ticks, filters) if h.overlap else ticks + filters
    passes = x.nN * x.nE * x.nC * x.nM * x.nG * x.folds
    return ceil_div(ticks, h.ticks) + passes * h.overhead


@njit(cache=True, nogil=True)
def consider(s: Shape, h: Machine, objective: int, x: Tiles, best: Key) -> Key:
    """Return the better of ``best`` and ``x``; cycles are computed only if ``x`` can be better."""
    c = count(s, h, x)
    dynamic = dynamic_fj(h, c)
    least = at_least(s, h, x, c)
    high, low = score(objective, least, energy_fj(h, dynamic, least))
    if (high, low) > (best[0], best[1]):
        return best
    cycles = schedule(s, h, x).total
    high, low = score(objective, cycles, energy_fj(h, dynamic, cycles))
    buffer = c.buffer_ifmap + c.buffer_psum
    words = dram_words(c)
    key = (high, low, cycles, words, buffer, x.e, x.n, x.m, x.p, x.q, x.r, x.t, x.order)
    return key if key < best else best


@njit(cache=True, nogil=True)
def bound_of_sets(s: Shape, h: Machine, objective: int, e: int, r: int, tm: int, k: int) -> Score:
    """Lower bound of the objective over all mappings with these output rows and PE sets.

    All counts and the lower bound of the cycles increase with the number of blocks. The minimum
    therefore has the largest p and q that a PE can hold, all images in one pass, and all psums in
    the buffer. DRAM supplies either the filters once per row block (NEM), or the ifmaps once per
    block of filters that fits in the filter buffer (MNE).
    """
    q = max(min(ceil_div(s.C, r), h.ifmap_pad // s.S), 1)
    p = max(min(ceil_div(s.M, tm), h.psum_pad, h.filter_pad // s.S), 1)
    x = tiles(s, h, e, s.N, s.M, p, q, r, k * tm, 0)
    c = count(s, h, x)
    refetched = c.dram_filter - s.G * s.M * s.C * s.R * s.S
    kept = h.filter_words // (s.C * s.R * s.S)
    saved = max(refetched - c.dram_ifmap * (ceil_div(s.M, kept) - 1), 0) if kept else 0
    dynamic = dynamic_fj(h, c)
    dynamic = dynamic - saved * h.dram_fj if dynamic < MOST_FJ else 0
    cycles = at_least(s, h, x, c)
    return score(objective, cycles, energy_fj(h, dynamic, cycles))


@njit(cache=True, nogil=True)
def _try_sets(s: Shape, h: Machine, o: int, e: int, r: int, tm: int, k: int, best: Key) -> Key:
    """Try all p, q, n and DRAM orders for given output rows and PE sets."""
    per_set_m, per_set_c = ceil_div(s.M, tm), ceil_div(s.C, r)
    q = 1
    while q <= per_set_c and q * s.S <= h.ifmap_pad:
        p = 1 if k == 1 else per_set_m
        while p <= min(per_set_m, h.psum_pad) and p * q * s.S <= h.filter_pad:
            n = 1
            while n <= s.N:
                for order in range(2):
                    x = tiles(s, h, e, n, 1, p, q, r, k * tm, order)
                    # Keeping filters cannot help if they are read only once.
                    if order == 1 and (x.nN * x.nE == 1 or filters_stay(s, h, x, 0)):
                        continue
                    m = choose_m(s, h, x, order)
                    if m:
                        x = tiles(s, h, e, n, m, p, q, r, k * tm, order)
                        best = consider(s, h, o, x, best)
                n = next_size(s.N, n)
            p = next_size(per_set_m, p)
        q = next_size(per_set_c, q)
    return best


@njit(cache=True, nogil=True)
def sets_in_use(s: Shape, h: Machine) -> NDArray[np.int64]:
    """All (e, r, filter sets per group, groups per pass) that fit in the array, one per row."""
    found, size = np.empty((512, 4), np.int64), 0
    e = 1
    while e <= s.E:
        sets = sets_of(s, h, e)
        r = 1
        while r <= min(sets, s.C):
            tm = 1
            while tm <= min(sets // r, s.M):
                k = 1
                while k * tm * r <= sets and k <= s.G:
                    if size == len(found):
                        found = np.concatenate((found, found))
                    found[size, 0], found[size, 1], found[size, 2], found[size, 3] = e, r, tm, k
                    size += 1
                    k = next_size(s.G, k)
                tm = next_size(s.M, tm)
            r = next_size(s.C, r)
        # With dilation, the rows that a layer reads depend on the block's size.
        e = next_size(s.E, e) if s.D == 1 else e + 1
    return found[:size]


@njit(cache=True, nogil=True)
def search_shape(s: Shape, h: Machine, objective: int) -> Key:
    """Find the optimal mapping of one shape.

    The PE sets with the lowest bound are tried first, then those whose bound is not worse than the
    best mapping found.

    Returns:
        (objective high, objective low, cycles, DRAM words, buffer words, e, n, m, p, q, r, t,
        order); ``cycles`` is 2**62 if no mapping fits.
    """
    none = _LARGE
    best = (none, none, none, none, none, none, none, none, none, none, none, none, none)
    sets = sets_in_use(s, h)
    bounds = np.empty((len(sets), 2), np.int64)
    lowest, first = (none, none), 0
    for i in range(len(sets)):
        e, r, tm, k = sets[i]
        bound = bound_of_sets(s, h, objective, e, r, tm, k)
        bounds[i, 0], bounds[i, 1] = bound
        if bound < lowest:
            lowest, first = bound, i
    for j in range(-1, len(sets)):
        i = first if j < 0 else j
        if j != first and (bounds[i, 0], bounds[i, 1]) <= (best[0], best[1]):
            e, r, tm, k = sets[i]
            best = _try_sets(s, h, objective, e, r, tm, k, best)
    return best
