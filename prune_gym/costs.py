"""What a network of given channel counts costs, on the accelerator and in memory."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import hw_sim
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.pruning.geometry import Counts, Geometry

OBJECTIVES = ("latency", "energy", "edp", "macs", "params")
MEMO_SIZE = 1 << 14
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class StepCosts:
    """Costs of one network for one batch of images, as each step of a run records them.

    Args:
        params: Number of parameters.
        macs: Multiply-accumulates of one image.
        cycles: Cycles of the accelerator for the batch.
        latency_ms: Milliseconds for the batch.
        energy_uj: Microjoules for the batch.
    """

    params: int
    macs: int
    cycles: int
    latency_ms: float
    energy_uj: float

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
        return dict(vars(self))


@dataclass(frozen=True)
class Costs(StepCosts):
    """All costs of one network for one batch of images.

    Args:
        params: Number of parameters.
        macs: Multiply-accumulates of one image.
        cycles: Cycles of the accelerator for the batch.
        latency_ms: Milliseconds for the batch.
        energy_uj: Microjoules for the batch.
        weight_bytes: Bytes of the parameters in the accelerator's words.
        peak_activation_bytes: Largest sum of one layer's input and output maps.
    """

    weight_bytes: int
    peak_activation_bytes: int


class _Layer(NamedTuple):
    """What one layer adds to the network's costs at some channel counts."""

    weights: int
    macs: int
    activations: int
    cost: hw_sim.LayerCost


class CostModel:
    """Costs by channel counts, remembered.

    Layers are remembered by their own channel counts, so a new combination of counts whose
    layers were all seen before costs look-ups only. Both memories are bounded.

    Args:
        geometry: The network's shapes.
        accelerator: A preset of :mod:`hw_sim`, a YAML file, or an accelerator.
        objective: One of ``OBJECTIVES``; the accelerator's mappings are searched for it
            (for latency where it is not the accelerator's to decide).
        batch: Images the accelerator works on at a time.

    Raises:
        UnknownNameError: No such objective, preset or file.
    """

    def __init__(
        self,
        geometry: Geometry,
        accelerator: str | hw_sim.Accelerator,
        objective: str = "latency",
        batch: int = 1,
    ) -> None:
        if objective not in OBJECTIVES:
            raise UnknownNameError("objective", objective, OBJECTIVES)
        if batch < 1:
            raise ValueError(f"accelerator_batch={batch} must be at least 1")
        self.geometry = geometry
        if isinstance(accelerator, str):
            accelerator = load_accelerator(accelerator)
        self.accelerator: hw_sim.Accelerator = accelerator
        self.objective = objective
        self.batch = batch
        self._searched_for = objective if objective in ("latency", "energy", "edp") else "latency"
        self._memo: dict[tuple[int, ...], Costs] = {}
        self._layers: dict[tuple[int, int | None, int | None], _Layer] = {}

    def of(self, counts: Counts | None = None) -> Costs:
        """The costs at these channel counts (of all spaces not named: the full ones)."""
        full = self.geometry.counts(counts)
        key = tuple(full.values())
        costs = self._memo.get(key)
        if costs is None:
            costs = remember(self._memo, key, self._compute(full))
        return costs

    def layer_cycles(self, counts: Counts | None = None) -> dict[str, int]:
        """The accelerator's cycles of each layer, in the order in which they run."""
        layers = self._at(self.geometry.counts(counts))
        return {layer.cost.layer.name: layer.cost.cycles for layer in layers}

    def _compute(self, counts: Counts) -> Costs:
        layers = self._at(counts)
        network = hw_sim.NetworkCost(
            tuple(layer.cost for layer in layers), self.accelerator, self._searched_for
        )
        bits = self.accelerator.word_bits
        params = self.geometry.other_params(counts) + sum(layer.weights for layer in layers)
        return Costs(
            params=params,
            macs=sum(layer.macs for layer in layers),
            cycles=network.cycles,
            latency_ms=network.latency_ms,
            energy_uj=network.energy_uj,
            weight_bytes=-(-params * bits // 8),
            peak_activation_bytes=-(-max(layer.activations for layer in layers) * bits // 8),
        )

    def _at(self, counts: Counts) -> list[_Layer]:
        """All layers at these counts, which name every space."""
        result = []
        for index, layer in self.geometry.numbered(counts):
            # The channels of its two spaces are all that a layer's cost depends on.
            key = (index, counts.get(layer.out_space or ""), counts.get(layer.in_space or ""))
            known = self._layers.get(key)
            if known is None:
                cost = hw_sim.search(
                    layer.accelerator_layer(counts, self.batch),
                    self.accelerator,
                    self._searched_for,
                )
                known = _Layer(
                    layer.weights(counts), layer.macs(counts), layer.activations(counts), cost
                )
                remember(self._layers, key, known)
            result.append(known)
        return result


def remember(memo: dict[Key, Value], key: Key, value: Value, size: int = MEMO_SIZE) -> Value:
    """Put a value into a memory that is emptied when it is full.

    Args:
        memo: The memory.
        key: What the value belongs to.
        value: The value.
        size: Most entries.

    Returns:
        ``value``.
    """
    if len(memo) >= size:
        memo.clear()
    memo[key] = value
    return value


def load_accelerator(name: str) -> hw_sim.Accelerator:
    """An accelerator by preset or YAML file.

    Raises:
        UnknownNameError: Neither a preset nor a file.
        PruneGymError: There is no such file, or it is not a valid accelerator.
    """
    if name in hw_sim.presets():
        return hw_sim.Accelerator.preset(name)
    if not Path(name).is_file():
        if Path(name).suffix in (".yaml", ".yml") or "/" in name:
            raise PruneGymError(f"There is no accelerator file {name!r}.")
        raise UnknownNameError("accelerator", name, [*hw_sim.presets(), "a YAML file's path"])
    try:
        return hw_sim.Accelerator.from_yaml(Path(name))
    except ValueError as error:
        raise PruneGymError(f"The accelerator {name!r} is not valid: {error}") from error
