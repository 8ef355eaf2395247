"""The exhaustive search over row-stationary mappings, compiled.

The space holds, for every number of blocks along an axis, the smallest block that gives it: a
larger one with as many blocks costs no less (docs/hw_sim.md, "What the search skips"). One total
order picks the optimum: objective, cycles, DRAM words, buffer words, e, n, m, p, q, r, t, order.
"""

from collections.abc import Iterator

from numba import njit

from hw_sim.layer import Shape
from hw_sim.row_stationary import (
    Counts,
    Machine,
    Tiles,
    ceil_div,
    count,
    dram_words,
    dynamic_fj,
    filters_stay,
    schedule,
    static_fj,
    tiles,
)

OBJECTIVES = ("latency", "energy", "edp")
"""Known objectives; the kernels see their index."""

_LARGE = 1 << 62
_HALF = 2**31 - 1

Score = tuple[int, int]
Key = tuple[int, int, int, int, int, int, int, int, int, int, int, int, int]


@njit(cache=True, nogil=True)
def next_size(total: int, size: int) -> int:
    """The smallest block that cuts ``total`` into fewer blocks than ``size`` does.

    Returns:
        That size, or ``total + 1`` where ``size`` gives one block already.
    """
    blocks = ceil_div(total, size)
    return total + 1 if blocks == 1 else ceil_div(total, blocks - 1)


@njit(cache=True, nogil=True)
def wide_product(a: int, b: int) -> tuple[int, int]:
    """``a * b`` for ``0 <= a, b < 2**62`` as two digits to the base 2**62, high one first."""
    a1, a0, b1, b0 = a >> 31, a & _HALF, b >> 31, b & _HALF
    middle = a1 * b0 + a0 * b1
    low = a0 * b0 + ((middle & _HALF) << 31)
    return a1 * b1 + (middle >> 31) + (low >> 62), low & (_LARGE - 1)


@njit(cache=True, nogil=True)
def score(objective: int, cycles: int, energy_fj: int) -> tuple[int, int]:
    """What is minimised, as two digits (see :func:`wide_product`)."""
    if objective == 0:
        return 0, cycles
    if objective == 1:
        return 0, energy_fj
    return wide_product(energy_fj, cycles)


@njit(cache=True, nogil=True)
def sets_of(s: Shape, h: Machine, e: int) -> int:
    """PE sets that the array holds at once: R rows by ``e`` columns each, folded where too large.

    A set wider than the array is cut into strips that lie on top of each other; a kernel taller
    than the array is worked on in ``ceil(R / A)`` turns.
    """
    vertical = h.A // ceil_div(s.R, ceil_div(s.R, h.A))
    return vertical * (h.B // e) if e <= h.B else vertical // ceil_div(e, h.B)


@njit(cache=True, nogil=True)
def ifmap_banks(s: Shape, h: Machine, n: int, e: int, channels: int) -> int:
    """Banks that the ifmaps of a pass occupy; ``channels`` counts those of all its groups."""
    rows = (e - 1) * s.U + s.R
    return ceil_div(n * channels * rows * ((s.F - 1) * s.U + s.S), h.bank_words)


@njit(cache=True, nogil=True)
def filters_held(s: Shape, h: Machine, n: int, e: int, banks: int) -> int:
    """Filters (of all groups of a pass) whose psums fit in ``banks``."""
    return banks * h.bank_words // (n * e * s.F)


@njit(cache=True, nogil=True)
def choose_m(s: Shape, h: Machine, x: Tiles, order: int) -> int:
    """The most filters, in blocks of ``p * t``, that the buffers hold; 0 where not one block fits.

    Where a larger ``m`` changes nothing the smallest is returned, as the tie-break wants it.
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
    """Cycles below which a mapping cannot go: each resource on its own, never waiting."""
    compute = s.N * x.nG * x.nE * s.F * s.S * x.folds
    compute *= ceil_div(s.M, x.tm) * ceil_div(s.C, x.r)
    filters = s.G * s.M * s.C * s.R * s.S * x.nN * x.nE * h.filter_ticks
    words = max(c.buffer_psum // 2 * h.psum_ticks, c.buffer_ifmap * h.ifmap_ticks, filters)
    return max(compute, ceil_div(words, h.ticks))


@njit(cache=True, nogil=True)
def consider(s: Shape, h: Machine, objective: int, x: Tiles, best: Key) -> Key:
    """The better of ``best`` and the mapping ``x``; cycles are counted only where it can win."""
    c = count(s, h, x)
    energy = dynamic_fj(h, c)
    least = at_least(s, h, x, c)
    high, low = score(objective, least, energy + static_fj(h, least))
    if (high, low) > (best[0], best[1]):
        return best
    cycles = schedule(s, h, x).total
    high, low = score(objective, cycles, energy + static_fj(h, cycles))
    buffer = c.buffer_ifmap + c.buffer_psum
    words = dram_words(c)
    key = (high, low, cycles, words, buffer, x.e, x.n, x.m, x.p, x.q, x.r, x.t, x.order)
    return key if key < best else best


@njit(cache=True, nogil=True)
def bound_of_sets(s: Shape, h: Machine, objective: int, e: int, r: int, tm: int, k: int) -> Score:
    """What no mapping with these rows and PE sets can beat.

    Every count and every bound on the cycles grows with the numbers of blocks; the largest p and q
    that a PE holds, all images in one pass and all psums in the buffer give the least of each.
    From DRAM, either the filters come once per row block (NEM), or the ifmaps once per exchange of
    the filters that the filter buffer keeps (MNE).
    """
    q = max(min(ceil_div(s.C, r), h.ifmap_pad // s.S), 1)
    p = max(min(ceil_div(s.M, tm), h.psum_pad, h.filter_pad // s.S), 1)
    x = tiles(s, h, e, s.N, s.M, p, q, r, k * tm, 0)
    c = count(s, h, x)
    refetched = c.dram_filter - s.G * s.M * s.C * s.R * s.S
    kept = h.filter_words // (s.C * s.R * s.S)
    saved = max(refetched - c.dram_ifmap * (ceil_div(s.M, kept) - 1), 0) if kept else 0
    energy = dynamic_fj(h, c) - saved * h.dram_fj
    cycles = at_least(s, h, x, c)
    return score(objective, cycles, energy + static_fj(h, cycles))


@njit(cache=True, nogil=True)
def _try_sets(s: Shape, h: Machine, o: int, e: int, r: int, tm: int, k: int, best: Key) -> Key:
    """All p, q, n and DRAM orders for given rows and PE sets."""
    per_set_m, per_set_c = ceil_div(s.M, tm), ceil_div(s.C, r)
    q = 1
    while q <= per_set_c and q * s.S <= h.ifmap_pad:
        p = 1 if k == 1 else per_set_m
        while p <= min(per_set_m, h.psum_pad) and p * q * s.S <= h.filter_pad:
            n = 1
            while n <= s.N:
                for order in range(2):
                    x = tiles(s, h, e, n, 1, p, q, r, k * tm, order)
                    # Keeping filters cannot help where they are fetched once anyway.
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
def sets_in_use(s: Shape, h: Machine) -> Iterator[tuple[int, int, int, int]]:
    """All (e, r, filter sets of a group, groups of a pass) that the array holds."""
    e = 1
    while e <= s.E:
        sets = sets_of(s, h, e)
        r = 1
        while r <= min(sets, s.C):
            tm = 1
            while tm <= min(sets // r, s.M):
                k = 1
                while k * tm * r <= sets and k <= s.G:
                    yield e, r, tm, k
                    k = next_size(s.G, k)
                tm = next_size(s.M, tm)
            r = next_size(s.C, r)
        e = next_size(s.E, e)


@njit(cache=True, nogil=True)
def search_shape(s: Shape, h: Machine, objective: int) -> Key:
    """The optimal mapping of one shape.

    The PE sets with the lowest bound go first; then the others, where their bound leaves a chance.

    Returns:
        (objective high, objective low, cycles, DRAM words, buffer words, e, n, m, p, q, r, t,
        order); ``cycles`` is 2**62 where no mapping fits.
    """
    none = _LARGE
    best = (none, none, none, none, none, none, none, none, none, none, none, none, none)
    lowest, first = (none, none), (1, 1, 1, 1)
    for e, r, tm, k in sets_in_use(s, h):
        bound = bound_of_sets(s, h, objective, e, r, tm, k)
        if bound < lowest:
            lowest, first = bound, (e, r, tm, k)
    best = _try_sets(s, h, objective, first[0], first[1], first[2], first[3], best)
    for e, r, tm, k in sets_in_use(s, h):
        if bound_of_sets(s, h, objective, e, r, tm, k) <= (best[0], best[1]):
            best = _try_sets(s, h, objective, e, r, tm, k, best)
    return best
