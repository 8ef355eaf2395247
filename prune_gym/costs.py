"""What a network of given channel counts costs, on the accelerator and in memory."""

from dataclasses import asdict, dataclass
from pathlib import Path

import hw_sim
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.surgery.geometry import Counts, Geometry

OBJECTIVES = ("latency", "energy", "edp", "macs", "params")


@dataclass(frozen=True)
class Costs:
    """Costs of one network for one batch of images.

    Args:
        params: Parameters.
        macs: Multiply-accumulates of one image.
        cycles: Of the accelerator, for the batch.
        latency_ms: Milliseconds for the batch.
        energy_uj: Microjoules for the batch.
        weight_bytes: Parameters in the accelerator's words.
        peak_activation_bytes: Most that one layer's input and output maps take.
    """

    params: int
    macs: int
    cycles: int
    latency_ms: float
    energy_uj: float
    weight_bytes: int
    peak_activation_bytes: int

    def of(self, objective: str) -> float:
        """The cost that an objective names (edp: energy times latency, in nJ s)."""
        return {
            "latency": self.latency_ms,
            "energy": self.energy_uj,
            "edp": self.energy_uj * self.latency_ms,
            "macs": self.macs,
            "params": self.params,
        }[objective]

    def as_dict(self) -> dict[str, float]:
        """All costs by name."""
        return asdict(self)


class CostModel:
    """Costs by channel counts, remembered.

    Args:
        geometry: The network's shapes.
        accelerator: A preset of :mod:`hw_sim` or a YAML file.
        objective: One of ``OBJECTIVES``; the accelerator's mappings are searched for it
            (for latency where it is not the accelerator's to decide).
        batch: Images the accelerator works on at a time.

    Raises:
        UnknownNameError: No such objective, preset or file.
    """

    def __init__(
        self, geometry: Geometry, accelerator: str, objective: str = "latency", batch: int = 1
    ) -> None:
        if objective not in OBJECTIVES:
            raise UnknownNameError("objective", objective, OBJECTIVES)
        if batch < 1:
            raise ValueError(f"accelerator_batch={batch} must be at least 1")
        self.geometry = geometry
        self.accelerator = load_accelerator(accelerator)
        self.objective = objective
        self.batch = batch
        self._searched_for = objective if objective in ("latency", "energy", "edp") else "latency"
        self._memo: dict[tuple[int, ...], Costs] = {}

    def of(self, counts: Counts | None = None) -> Costs:
        """The costs at these channel counts (of all spaces not named: the full ones)."""
        full = self.geometry.counts(counts)
        key = tuple(full.values())
        if key not in self._memo:
            self._memo[key] = self._compute(full)
        return self._memo[key]

    def layer_cycles(self, counts: Counts | None = None) -> dict[str, int]:
        """The accelerator's cycles of each layer, in the order in which they run."""
        layers = self.geometry.accelerator_layers(counts, self.batch)
        cost = hw_sim.evaluate_network(layers, self.accelerator, self._searched_for)
        return {layer.name: part.cycles for layer, part in zip(layers, cost.layers, strict=True)}

    def _compute(self, counts: Counts) -> Costs:
        layers = self.geometry.accelerator_layers(counts, self.batch)
        cost = hw_sim.evaluate_network(layers, self.accelerator, self._searched_for)
        bits = self.accelerator.word_bits
        params = self.geometry.params(counts)
        return Costs(
            params=params,
            macs=self.geometry.macs(counts),
            cycles=cost.cycles,
            latency_ms=cost.latency_ms,
            energy_uj=cost.energy_uj,
            weight_bytes=-(-params * bits // 8),
            peak_activation_bytes=-(-self.geometry.peak_activations(counts) * bits // 8),
        )


def load_accelerator(name: str) -> hw_sim.Accelerator:
    """An accelerator by preset or YAML file.

    Raises:
        UnknownNameError: Neither a preset nor a file.
        PruneGymError: The file is not a valid accelerator.
    """
    if name in hw_sim.presets():
        return hw_sim.Accelerator.preset(name)
    if not Path(name).is_file():
        raise UnknownNameError("accelerator", name, [*hw_sim.presets(), "a YAML file's path"])
    try:
        return hw_sim.Accelerator.from_yaml(Path(name))
    except ValueError as error:
        raise PruneGymError(f"The accelerator {name!r} is not valid: {error}") from error
