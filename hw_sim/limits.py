"""Range check: reject layers whose counts could overflow int64."""

from hw_sim.accelerator import Accelerator
from hw_sim.layer import ZEROS_SCALE, ConvLayer
from hw_sim.machine import machine

LARGEST = 2**62
"""Upper limit of all results: half the range of int64, so that sums cannot overflow."""


def check_range(layer: ConvLayer, accelerator: Accelerator) -> None:
    """Reject a layer whose counts, cycles or energy could overflow int64 under some mapping.

    ``work`` is an upper limit of every count of every mapping. It covers all loops, idle PEs, and
    rows that adjacent blocks both read.

    Raises:
        ValueError: If a count could overflow. The message gives the layer, its MACs and the limit.
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
            f"its energy or cycles may reach {bound:.1e}; the limit is {LARGEST:.1e}."
        )
