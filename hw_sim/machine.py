"""Integer tuples that the kernels use: machine, tiles, counts and cycles."""

from functools import lru_cache
from math import lcm
from typing import NamedTuple

from hw_sim.accelerator import Accelerator


class Machine(NamedTuple):
    """An accelerator in the form that the kernels read: integers, with ports as time per word.

    Attributes:
        A: Rows of PEs; ``B`` counts the columns.
        ifmap_pad: Ifmap words that a PE stores; the other pads, the costs of an access (``_fj``),
            ``overhead``, ``static_uw`` and ``mhz`` are the fields of :class:`hw_sim.Accelerator`.
        banks: Banks of the buffer, of ``bank_words`` words each.
        filter_words: Words that the filter buffer stores.
        ticks: Ticks per cycle: the smallest number for which each port takes a whole number of
            ticks per word.
        ifmap_ticks: Ticks per ifmap word.
        filter_ticks: Ticks per filter word.
        psum_ticks: Ticks per psum (read and written at the same time).
        dram_words: DRAM words per cycle; 0 for unlimited.
        fill: 1 if the first load and the last store count.
        overlap: 1 if a pass loads its filters during the previous pass.
        broadcast: 1 if a weight-stationary array's operands reach all PEs in the same cycle.
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
    broadcast: int


class Tiles(NamedTuple):
    """A mapping of one shape, with the loop bounds derived from it.

    Attributes:
        e: Output rows per pass; see :class:`hw_sim.Mapping` for ``n``, ``m``, ``p``, ``q``, ``r``
            and ``t``.
        order: Index of the DRAM order: 0 is NEM, 1 is MNE.
        k: Groups per pass.
        tm: PE sets that share the filters of one group.
        folds: Parts into which a kernel with more rows than the array is divided.
        nN: Number of image blocks; ``nE``, ``nC``, ``nM`` and ``nG`` count the blocks of output
            rows, channels, filters and groups.
        nH: Number of filter blocks whose psums the buffer holds one after the other.
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
    """Accesses of a mapping, in words (MACs in operations), summed over the layer.

    Attributes:
        macs: MACs performed, without those gated by zero ifmap values.
        rf_ifmap: Reads and writes of ifmap words in the PEs; ``rf_filter`` and ``rf_psum`` count
            filters and psums.
        noc_ifmap: Ifmap words delivered to PEs; ``noc_filter`` counts filters.
        noc_psum: Moves of psums from one PE to the next.
        buffer_ifmap: Ifmap words that the buffer sends to the array.
        buffer_psum: Psums read from and written to the buffer.
        dram_ifmap: Ifmap words read from DRAM; ``dram_filter`` counts filters.
        dram_psum: Ofmap words written to DRAM.
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
    """Cycles of a mapping.

    Attributes:
        total: Latency of the layer.
        compute: Cycles that the PEs would need if they never waited; ``psum``, ``ifmap``,
            ``filter`` and ``dram`` are the same for the ports and DRAM.
    """

    total: int
    compute: int
    psum: int
    ifmap: int
    filter: int
    dram: int

    @property
    def bound(self) -> str:
        """Name of the resource that limits the cycles; on a tie, the first one counts."""
        work = self[1:]
        return self._fields[1 + work.index(max(work))]


@lru_cache(maxsize=256)
def machine(accelerator: Accelerator) -> Machine:
    """Convert an accelerator into the integers that the kernels read."""
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
        broadcast=int(a.dataflow == "broadcast"),
    )
