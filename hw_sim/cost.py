"""Cost of a layer or a network on an accelerator."""

from collections import abc
from dataclasses import dataclass

from hw_sim.accelerator import Accelerator
from hw_sim.layer import ConvLayer
from hw_sim.machine import Cycles
from hw_sim.mapping import Mapping, SystolicMapping

LEVELS = ("mac", "rf", "noc", "buffer", "dram", "static")
"""Energy levels from the ALU outwards, then the static part, which is proportional to time."""

Table = abc.Mapping[str, abc.Mapping[str, int]]
"""Values by level and operand. Results share these tables; do not modify them."""


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer under one mapping.

    Attributes:
        layer: The layer.
        accelerator: The accelerator.
        mapping: The mapping; all other values refer to it.
        cycles: Latency in cycles.
        compute_cycles: Cycles that the PEs would need if they never waited for data.
        bound: The resource that limits the cycles, one of ``compute``, ``psum``, ``ifmap``,
            ``filter`` and ``dram``.
        counts: Accesses by level and operand (``mac``, ``ifmap``, ``filter``, ``psum``), in words;
            ``counts["mac"]["mac"]`` excludes the MACs that zero ifmap values gate.
        energy_by_level_fj: Energy by level and operand, in fJ; the sum is ``energy_fj``.
        energy_fj: Energy in fJ.
        active_pes: PEs that a full pass uses.
        folded: Whether the kernel has more rows than the array and is processed in parts.
    """

    layer: ConvLayer
    accelerator: Accelerator
    mapping: Mapping | SystolicMapping
    cycles: int
    compute_cycles: int
    bound: str
    counts: Table
    energy_by_level_fj: Table
    energy_fj: int
    active_pes: int
    folded: bool = False

    @property
    def macs(self) -> int:
        """MACs of the layer, including gated ones."""
        return self.layer.macs

    @property
    def latency_ms(self) -> float:
        """Latency in ms."""
        return self.cycles / (1000 * self.accelerator.clock_mhz)

    @property
    def energy_uj(self) -> float:
        """Energy in uJ."""
        return self.energy_fj / 1e9

    @property
    def edp(self) -> int:
        """Energy-delay product in fJ x cycles (exact)."""
        return self.energy_fj * self.cycles

    @property
    def dram_words(self) -> int:
        """Words read from and written to DRAM."""
        return sum(self.counts["dram"].values())

    @property
    def buffer_words(self) -> int:
        """Words that the array reads from or writes to the buffer.

        Transfers between the buffer and DRAM are excluded, as in the published chip measurements.
        """
        return sum(self.counts["buffer"].values())

    @property
    def utilization(self) -> float:
        """MACs divided by the MACs that all PEs could do in ``cycles``, in [0, 1]."""
        return self.macs / (self.cycles * self.accelerator.pes)

    def level_fj(self, level: str) -> int:
        """Energy of one of :data:`LEVELS`, in fJ."""
        return sum(self.energy_by_level_fj[level].values())


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network whose layers run one after the other.

    Attributes:
        layers: Cost of each layer, in the given order.
        accelerator: The accelerator.
        objective: Objective of the mapping search.
    """

    layers: tuple[LayerCost, ...]
    accelerator: Accelerator
    objective: str

    @property
    def cycles(self) -> int:
        """Latency in cycles."""
        return sum(cost.cycles for cost in self.layers)

    @property
    def latency_ms(self) -> float:
        """Latency in ms."""
        return self.cycles / (1000 * self.accelerator.clock_mhz)

    @property
    def energy_fj(self) -> int:
        """Energy in fJ."""
        return sum(cost.energy_fj for cost in self.layers)

    @property
    def energy_uj(self) -> float:
        """Energy in uJ."""
        return self.energy_fj / 1e9

    @property
    def edp(self) -> int:
        """Energy-delay product of the network in fJ x cycles (exact)."""
        return self.energy_fj * self.cycles

    @property
    def dram_words(self) -> int:
        """Words read from and written to DRAM."""
        return sum(cost.dram_words for cost in self.layers)

    @property
    def buffer_words(self) -> int:
        """Words that the array reads from or writes to the buffer."""
        return sum(cost.buffer_words for cost in self.layers)

    @property
    def macs(self) -> int:
        """MACs, including gated ones."""
        return sum(cost.macs for cost in self.layers)

    @property
    def utilization(self) -> float:
        """MACs divided by the MACs that all PEs could do in ``cycles``, in [0, 1]."""
        return self.macs / (self.cycles * self.accelerator.pes)


def layer_cost(
    layer: ConvLayer,
    accelerator: Accelerator,
    mapping: Mapping | SystolicMapping,
    counts: Table,
    time: Cycles,
    active_pes: int,
    folded: bool = False,
) -> LayerCost:
    """Cost of a layer, with the energy of its accesses and the static energy."""
    a = accelerator
    rf = {"ifmap": a.rf_ifmap_fj, "filter": a.rf_filter_fj, "psum": a.rf_psum_fj}
    per = {"mac": a.mac_fj, "noc": a.noc_fj, "buffer": a.buffer_fj, "dram": a.dram_fj}
    energy = {
        level: {
            name: words * (rf[name] if level == "rf" else per[level]) for name, words in row.items()
        }
        for level, row in counts.items()
    }
    # 1 uW for 1 us is 1000 fJ.
    energy["static"] = {"static": time.total * a.static_power_uw * 1000 // a.clock_mhz}
    return LayerCost(
        layer=layer,
        accelerator=accelerator,
        mapping=mapping,
        cycles=time.total,
        compute_cycles=time.compute,
        bound=time.bound,
        counts=counts,
        energy_by_level_fj=energy,
        energy_fj=sum(sum(row.values()) for row in energy.values()),
        active_pes=active_pes,
        folded=folded,
    )
