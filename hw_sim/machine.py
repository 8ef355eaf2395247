"""The integers that the row-stationary kernels work on: machine, tiles, counts and cycles."""

from functools import lru_cache
from math import lcm
from typing import NamedTuple

from hw_sim.accelerator import Accelerator


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
        overlap: 1 where filters load during the pass before.
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
