"""Costs of a network with given channel counts, on the accelerator and in memory."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import hw_sim
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.jsonfile import Positive, Whole
from prune_gym.pruning.geometry import Geometry
from prune_gym.pruning.layer_geometry import Counts, LayerGeometry

OBJECTIVES = ("latency", "energy", "edp", "macs", "params")
MEMO_SIZE = 1 << 14
Key = TypeVar("Key")
Value = TypeVar("Value")


@dataclass(frozen=True)
class StepCosts:
    """Costs of one network for one batch of images; a run records them at each step.

    Args:
        params: Number of parameters.
        macs: Multiply-accumulates per image.
        cycles: Accelerator cycles per batch.
        latency_ms: Latency per batch in ms.
        energy_uj: Energy per batch in uJ.
    """

    params: Whole
    macs: Whole
    cycles: Whole
    latency_ms: Positive
    energy_uj: Positive

    def of(self, objective: str) -> float:
        """Return the cost for one of ``OBJECTIVES`` (edp: energy times latency, in nJ s)."""
        return {
            "latency": self.latency_ms,
            "energy": self.energy_uj,
            "edp": self.energy_uj * self.latency_ms,
            "macs": self.macs,
            "params": self.params,
        }[objective]

    def as_dict(self) -> dict[str, float]:
        """Return all costs by name."""
        return dict(vars(self))


@dataclass(frozen=True)
class Costs(StepCosts):
    """All costs of one network: those of :class:`StepCosts`, and its memory.

    Args:
        weight_bytes: Size of the parameters in the accelerator's word length.
        peak_activation_bytes: Largest size of the input and output maps of one layer (this
            project's choice). A layer-by-layer runtime needs this much memory; stored residuals
            are not counted.
    """

    weight_bytes: Whole
    peak_activation_bytes: Whole


class _LayerCosts(NamedTuple):
    """Contribution of one layer to the network's costs."""

    weights: int
    macs: int
    activations: int
    cost: hw_sim.LayerCost


class CostModel:
    """Memoised costs by channel counts.

    The costs of layers are also memoised by their own channel counts. A new combination of known
    layers therefore needs look-ups only. Both memos are bounded.

    Args:
        geometry: Layer shapes of the network.
        accelerator: Preset of :mod:`hw_sim`, path of a YAML file, or an accelerator.
        objective: One of ``OBJECTIVES``. The accelerator's mappings are optimised for it, or for
            latency if the objective does not depend on the mapping.
        batch: Images that the accelerator processes at a time.

    Raises:
        UnknownNameError: If the objective, preset or file does not exist.
        ValueError: If ``batch`` is less than 1.
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
        if isinstance(accelerator, str):
            accelerator = load_accelerator(accelerator)
        self.geometry, self.accelerator = geometry, accelerator
        self.objective, self.batch = objective, batch
        self._searched_for = objective if objective in ("latency", "energy", "edp") else "latency"
        self._memo: dict[tuple[int, ...], Costs] = {}
        self._layers: dict[tuple[int, int, int], _LayerCosts] = {}

    def of(self, counts: Counts | None = None) -> Costs:
        """Return the costs for the given channel counts; unlisted spaces keep all channels."""
        full = self.geometry.counts(counts)
        key = tuple(full.values())
        return self._memo.get(key) or remember(self._memo, key, self._compute(full))

    def of_if(self, counts: Counts, worth: Callable[[StepCosts], bool]) -> Costs | None:
        """The costs, or None if a lower bound of them is not ``worth`` the search for mappings.

        Args:
            counts: Channel counts, as for :meth:`of`.
            worth: Whether costs are low enough. If it is false, it must be false for higher ones.
        """
        full = self.geometry.counts(counts)
        layers = self.geometry.numbered(full)
        known = [self._layers.get((index, *layer.channels(full))) for index, layer in layers]
        unknown = [place for place, cost in enumerate(known) if cost is None]
        if not unknown:
            return self.of(full)
        macs = [layer.macs(full) for _, layer in layers]
        params = self.geometry.other_params(full) + sum(w.weights(full) for _, w in layers)
        # A PE does one MAC a cycle.
        cycles = [
            -(-own * self.batch // self.accelerator.pes) if cost is None else cost.cost.cycles
            for own, cost in zip(macs, known, strict=True)
        ]
        energy = [0 if cost is None else cost.cost.energy_fj for cost in known]
        for place in sorted(unknown, key=lambda place: -macs[place]):
            total = sum(cycles)
            milliseconds = total / (1000 * self.accelerator.clock_mhz)
            if not worth(StepCosts(params, sum(macs), total, milliseconds, sum(energy) / 1e9)):
                return None
            found = self._layer_cost(*layers[place], full).cost
            cycles[place], energy[place] = found.cycles, found.energy_fj
        return self.of(full)

    def of_geometry(self, geometry: Geometry) -> "CostModel":
        """The cost model of other shapes, on the same accelerator for the same objective."""
        return CostModel(geometry, self.accelerator, self.objective, self.batch)

    def layer_cycles(self, counts: Counts | None = None) -> dict[str, int]:
        """Return the accelerator cycles of each layer, in execution order."""
        layers = self._layer_costs(self.geometry.counts(counts))
        return {layer.cost.layer.name: layer.cost.cycles for layer in layers}

    def _compute(self, counts: Counts) -> Costs:
        layers = self._layer_costs(counts)
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

    def _layer_costs(self, counts: Counts) -> list[_LayerCosts]:
        """Return all layers for counts that list every space."""
        return [self._layer_cost(*each, counts) for each in self.geometry.numbered(counts)]

    def _layer_cost(self, index: int, layer: LayerGeometry, counts: Counts) -> _LayerCosts:
        """Return the costs of one layer, by its number for all counts."""
        # The cost of a layer depends only on its numbers of channels.
        key = (index, *layer.channels(counts))
        known = self._layers.get(key)
        if known is not None:
            return known
        size = layer.accelerator_layer(counts, self.batch)
        cost = hw_sim.search(size, self.accelerator, self._searched_for)
        sizes = layer.weights(counts), layer.macs(counts), layer.activations(counts)
        return remember(self._layers, key, _LayerCosts(*sizes, cost))


def remember(memo: dict[Key, Value], key: Key, value: Value, size: int = MEMO_SIZE) -> Value:
    """Add a value to a memo of at most ``size`` entries, which is cleared if it is full."""
    if len(memo) >= size:
        memo.clear()
    memo[key] = value
    return value


def load_accelerator(name: str) -> hw_sim.Accelerator:
    """Load an accelerator from a preset or a YAML file.

    Raises:
        UnknownNameError: If ``name`` is neither a preset nor a file.
        PruneGymError: If the YAML file does not exist or is invalid.
    """
    if name in hw_sim.presets():
        return hw_sim.Accelerator.preset(name)
    if not os.path.isfile(name):
        if Path(name).suffix in (".yaml", ".yml") or "/" in name:
            raise PruneGymError(f"The accelerator file {name!r} does not exist.")
        raise UnknownNameError("accelerator", name, [*hw_sim.presets(), "a YAML file's path"])
    try:
        return hw_sim.Accelerator.from_yaml(Path(name))
    except ValueError as error:
        raise PruneGymError(f"The accelerator {name!r} is invalid: {error}") from error
