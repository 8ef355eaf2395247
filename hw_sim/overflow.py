"""Upper limits of what the compiled kernels compute, so that int64 cannot overflow."""

from hw_sim.accelerator import Accelerator
from hw_sim.cost import LayerCost
from hw_sim.layer import ConvLayer, Shape
from hw_sim.machine import Counts, Machine, machine

MOST = 2**62
"""Upper limit of all results: half the range of int64, so that sums cannot overflow."""


def check_range(layer: ConvLayer, accelerator: Accelerator) -> None:
    """Reject a layer whose counts or cycles could overflow int64 under some mapping.

    The limit of each count is its formula with the block sizes that make it largest, computed with
    Python's unlimited integers. Energies are not limited here: the kernels cut them off at
    ``MOST``, and a result has Python's integers (see :func:`check_energy`).

    Raises:
        ValueError: If a value could overflow. The message gives the layer, its MACs and the limit.
    """
    s, h = layer.shape, machine(accelerator)
    if accelerator.dataflow == "row_stationary":
        counts = _row_stationary_counts(s, h)
        ticks = _row_stationary_ticks(s, h, counts)
    else:
        counts = _weight_stationary_counts(s)
        ticks = _weight_stationary_cycles(s, h, counts)
    # The static energy of a microsecond's remainder is an intermediate result of the kernels.
    static = min(ticks, h.mhz) * h.static_uw * 1000
    _check(layer, accelerator, "counts, cycles or static energy", max(static, ticks, sum(counts)))


def check_energy(cost: LayerCost) -> None:
    """Reject a result whose energy the search cut off, since another mapping may need less.

    Raises:
        ValueError: If the energy is ``MOST`` or more.
    """
    _check(cost.layer, cost.accelerator, "energy", cost.energy_fj)


def _check(layer: ConvLayer, accelerator: Accelerator, what: str, largest: int) -> None:
    if largest >= MOST:
        raise ValueError(
            f"Layer {layer.name!r} with macs={layer.macs} could overflow int64 on "
            f"{accelerator.name!r}: its {what} may reach {largest:.1e}; the limit is {MOST:.1e}. "
            "Divide the layer, for example by images."
        )


def _row_stationary_counts(s: Shape, h: Machine) -> Counts:
    """Largest counts: blocks of one row, channel, filter and image, as many PE sets as PEs."""
    outputs, sets = s.N * s.G * s.M * s.E * s.F, h.A * h.B
    weights = s.G * s.M * s.C * s.R * s.S
    ifmap_rows = s.N * s.G * s.C * s.E * s.R * s.W
    noc_ifmap, noc_filter = ifmap_rows * (s.M + sets), weights * s.N * s.E
    return Counts(
        macs=s.macs,
        rf_ifmap=s.macs + noc_ifmap,
        rf_filter=s.macs + noc_filter,
        rf_psum=2 * s.macs,
        noc_ifmap=noc_ifmap,
        noc_filter=noc_filter,
        noc_psum=outputs * (s.C + sets) * s.R,
        buffer_ifmap=ifmap_rows * s.M,
        buffer_psum=2 * outputs * s.C * s.R,
        dram_ifmap=ifmap_rows * s.M,
        dram_filter=noc_filter,
        dram_psum=outputs,
    )


def _row_stationary_ticks(s: Shape, h: Machine, c: Counts) -> int:
    """Largest ticks: no resource overlaps another, and the first and last pass wait for DRAM."""
    passes = s.N * s.E * s.G * s.M * s.C * s.R
    ticks = s.macs * h.ticks + c.buffer_psum * h.psum_ticks + c.buffer_ifmap * h.ifmap_ticks
    ticks += c.dram_filter * h.filter_ticks + passes * h.overhead * h.ticks
    return 2 * ticks + 2 * (c.dram_ifmap + c.dram_filter + c.dram_psum) * h.ticks


def _weight_stationary_counts(s: Shape) -> Counts:
    """Largest counts: blocks of one row, term, filter and image."""
    outputs, loads = s.N * s.G * s.M * s.E * s.F, s.N * s.E * s.G * s.M * s.C * s.R * s.S
    return Counts(
        macs=s.macs,
        rf_ifmap=2 * s.macs,
        rf_filter=s.macs + loads,
        rf_psum=2 * s.macs,
        noc_ifmap=s.macs,
        noc_filter=loads,
        noc_psum=s.macs,
        buffer_ifmap=s.macs,
        buffer_psum=2 * s.macs,
        dram_ifmap=s.N * s.G * s.C * s.E * s.R * s.W * s.M,
        dram_filter=loads,
        dram_psum=outputs,
    )


def _weight_stationary_cycles(s: Shape, h: Machine, c: Counts) -> int:
    """Largest cycles: passes of one term and one filter, in which no resource overlaps another."""
    passes = c.noc_filter
    cycles = passes * (2 * h.A + h.B + h.overhead + 3) + 3 * s.macs + passes
    ends = h.A * h.B + s.N * s.E * s.F * h.B
    return cycles + c.dram_ifmap + c.dram_filter + c.dram_psum + ends
