"""What a layer or a network costs on an accelerator."""

from collections import abc
from dataclasses import dataclass

from hw_sim.accelerator import Accelerator
from hw_sim.layer import ConvLayer
from hw_sim.mapping import Mapping, SystolicMapping

LEVELS = ("mac", "rf", "noc", "buffer", "dram", "static")
"""Levels of the energy, from the ALU outwards, and the time-proportional part."""

BOUNDS = ("compute", "psum", "ifmap", "filter", "dram")
"""What may bound the cycles of a layer; earlier ones win ties."""

Table = abc.Mapping[str, abc.Mapping[str, int]]
"""Values by level and operand; shared between results, so to be read only."""


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer under one mapping.

    Attributes:
        layer: The layer.
        accelerator: The accelerator.
        mapping: How the layer is cut; all figures belong to it.
        cycles: Latency.
        compute_cycles: Cycles of the PEs alone.
        bound: The resource with the most work: one of :data:`BOUNDS`.
        counts: Accesses by level and operand (``mac``, ``ifmap``, ``filter``, ``psum``), in words;
            ``counts["mac"]["mac"]`` leaves out the MACs that zero ifmap values gate.
        energy_by_level_fj: Energy by level and operand, in fJ; adds up to ``energy_fj``.
        energy_fj: Energy, in fJ.
        active_pes: PEs that a full pass uses.
        folded: Whether the kernel is taller than the array and is worked on in turns.
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
        """MACs of the layer, gated ones included."""
        return self.layer.macs

    @property
    def latency_ms(self) -> float:
        """Latency, in ms."""
        return self.cycles / (1000 * self.accelerator.clock_mhz)

    @property
    def energy_uj(self) -> float:
        """Energy, in uJ."""
        return self.energy_fj / 1e9

    @property
    def edp(self) -> int:
        """Energy-delay product, in fJ x cycles (exact)."""
        return self.energy_fj * self.cycles

    @property
    def dram_words(self) -> int:
        """Words moved from and to DRAM."""
        return sum(self.counts["dram"].values())

    @property
    def buffer_words(self) -> int:
        """Words that the array reads from the buffer or writes to it.

        The buffer's own loads from DRAM are left out, as in the chip's published figures.
        """
        return sum(self.counts["buffer"].values())

    @property
    def utilization(self) -> float:
        """MACs done over MACs that all PEs could do in ``cycles``, in [0, 1]."""
        return self.macs / (self.cycles * self.accelerator.pes)

    def level_fj(self, level: str) -> int:
        """Energy of one of :data:`LEVELS`, in fJ."""
        return sum(self.energy_by_level_fj[level].values())


@dataclass(frozen=True)
class NetworkCost:
    """The cost of layers run one after the other.

    Attributes:
        layers: One cost per layer, in the order given.
        accelerator: The accelerator.
        objective: What each layer's mapping was chosen by.
    """

    layers: tuple[LayerCost, ...]
    accelerator: Accelerator
    objective: str

    @property
    def cycles(self) -> int:
        """Latency of all layers."""
        return sum(cost.cycles for cost in self.layers)

    @property
    def latency_ms(self) -> float:
        """Latency, in ms."""
        return self.cycles / (1000 * self.accelerator.clock_mhz)

    @property
    def energy_fj(self) -> int:
        """Energy, in fJ."""
        return sum(cost.energy_fj for cost in self.layers)

    @property
    def energy_uj(self) -> float:
        """Energy, in uJ."""
        return self.energy_fj / 1e9

    @property
    def edp(self) -> int:
        """Energy-delay product of the network, in fJ x cycles (exact)."""
        return self.energy_fj * self.cycles

    @property
    def dram_words(self) -> int:
        """Words moved from and to DRAM."""
        return sum(cost.dram_words for cost in self.layers)

    @property
    def buffer_words(self) -> int:
        """Words that the array reads from the buffer or writes to it."""
        return sum(cost.buffer_words for cost in self.layers)

    @property
    def macs(self) -> int:
        """MACs, gated ones included."""
        return sum(cost.macs for cost in self.layers)

    @property
    def utilization(self) -> float:
        """MACs done over MACs that all PEs could do in ``cycles``, in [0, 1]."""
        return self.macs / (self.cycles * self.accelerator.pes)


def energy_table(counts: Table, accelerator: Accelerator, cycles: int) -> Table:
    """Energy of counted accesses, and of the time they take, by level and operand.

    Args:
        counts: Accesses by level and operand, in words.
        accelerator: Whose coefficients are used.
        cycles: Latency, for the time-proportional part: 1 uW for 1 us is 1000 fJ.

    Returns:
        Energy in fJ.
    """
    a = accelerator
    rf = {"ifmap": a.rf_ifmap_fj, "filter": a.rf_filter_fj, "psum": a.rf_psum_fj}
    per = {"mac": a.mac_fj, "noc": a.noc_fj, "buffer": a.buffer_fj, "dram": a.dram_fj}
    table = {
        level: {
            name: words * (rf[name] if level == "rf" else per[level]) for name, words in row.items()
        }
        for level, row in counts.items()
    }
    table["static"] = {"static": cycles * a.static_power_uw * 1000 // a.clock_mhz}
    return table
