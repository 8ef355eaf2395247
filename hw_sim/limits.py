"""The range of the counts: what could leave int64 is refused before it is counted."""

from hw_sim.accelerator import Accelerator
from hw_sim.layer import ZEROS_SCALE, ConvLayer
from hw_sim.machine import machine

LARGEST = 2**62
"""Results stay below it: int64 with one bit to spare for sums."""


def check_range(layer: ConvLayer, accelerator: Accelerator) -> None:
    """Refuse a layer whose counts, cycles or energy could leave int64 under some mapping.

    Every count of every mapping stays below ``work``: all loops, with room for idle PEs and for
    the rows that neighbouring blocks read twice.

    Raises:
        ValueError: Naming the layer, its MACs and the bound.
    """
    s, a = layer.shape, accelerator
    rows, width = s.E * (s.R + s.U), (s.F - 1) * s.U + s.S
    idle = (s.M + s.C + 1) * a.pes
    work = s.N * s.G * (s.M * s.C + idle) * rows * width
    work *= max(s.S, -(-s.R // a.array_rows))
    per_access = a.mac_fj + a.rf_ifmap_fj + a.rf_filter_fj + 2 * a.rf_psum_fj
    per_access += 3 * a.noc_fj + 3 * a.buffer_fj + 3 * a.dram_fj
    per_cycle = a.static_power_uw * 1000 // a.clock_mhz + 1
    per_cycle += machine(a).ticks * (1 + a.pass_overhead_cycles)
    bound = work * (per_access + per_cycle + ZEROS_SCALE)
    if bound >= LARGEST:
        raise ValueError(
            f"Layer {layer.name!r} with macs={layer.macs} could overflow int64 on {a.name!r}: "
            f"its energy or cycles are bounded by {bound:.1e} only, not by {LARGEST:.1e}."
        )
