"""Costs memoised by layer equal the accelerator model's costs of the whole network."""

import itertools

import numpy as np
import pytest

import hw_sim
from prune_gym import costs as costs_module
from prune_gym.costs import OBJECTIVES, CostModel, remember
from prune_gym.networks import build
from prune_gym.pruning import Geometry
from tests.tiny import tiny_network, tiny_residual


def random_counts(spaces, rng):
    named = [space for space in spaces if rng.random() < 0.8]
    return {space.name: int(rng.integers(1, space.channels + 1)) for space in named}


@pytest.mark.parametrize("name", ["tiny", "resnet20"])
@pytest.mark.parametrize("objective", ["latency", "energy", "macs"])
def test_costs_are_those_of_the_whole_network(name, objective):
    network = tiny_network() if name == "tiny" else build("resnet20", 10, 32)
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    model = CostModel(geometry, "eyeriss", objective, batch=2)
    searched = objective if objective == "energy" else "latency"
    rng = np.random.default_rng(0)
    for _ in range(8):
        counts = random_counts(network.spaces, rng)
        whole = hw_sim.evaluate_network(
            geometry.accelerator_layers(counts, 2), model.accelerator, searched
        )
        found = model.of(counts)
        assert (found.cycles, found.latency_ms, found.energy_uj) == (
            whole.cycles,
            whole.latency_ms,
            whole.energy_uj,
        )
        assert (found.params, found.macs) == (geometry.params(counts), geometry.macs(counts))
        full = geometry.counts(counts)
        peak = max(layer.activations(full) for layer in geometry.layers)
        assert found.peak_activation_bytes == peak * model.accelerator.word_bits / 8
        assert sum(model.layer_cycles(counts).values()) == whole.cycles


def test_peak_activations_of_resnet20():
    network = build("resnet20", 10, 32)
    model = CostModel(Geometry(network.module, network.spaces, network.input_shape), "eyeriss")
    assert model.of().peak_activation_bytes == 2 * (2 * 16 * 32 * 32)


def test_seen_layers_are_not_searched_again(monkeypatch):
    network = tiny_network()
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    model = CostModel(geometry, "eyeriss")
    model.of({"one": 3, "two": 4})
    model.of({"one": 2, "two": 5})
    searches = []
    search = hw_sim.search
    monkeypatch.setattr(hw_sim, "search", lambda *a: searches.append(a) or search(*a))
    model.of({"one": 3, "two": 4})
    model.of({"one": 3, "two": 5})
    # Only `second`, which is between the two spaces, has a new shape.
    assert [arguments[0].name for arguments in searches] == ["second"]


@pytest.mark.parametrize("preset", hw_sim.presets())
@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_costs_are_searched_for_only_if_they_may_be_low_enough(preset, objective, name):
    network = tiny_residual()
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    exact = CostModel(geometry, preset, objective, batch=2)
    full, refused = exact.of().of(name), 0
    for share in (0.2, 0.5, 0.9):
        model = CostModel(geometry, preset, objective, batch=2)
        for counts in itertools.product((1, 5, 8), (1, 7, 12), (2, 10)):
            named = dict(zip(("trunk", "mid", "last"), counts, strict=True))
            found = model.of_if(named, lambda costs: costs.of(name) <= share * full)  # noqa: B023
            refused += found is None
            if found is None:
                assert exact.of(named).of(name) > share * full
            else:
                assert found == exact.of(named)
    assert refused


def test_a_network_that_is_too_slow_by_its_macs_needs_no_search(monkeypatch):
    network = tiny_residual()
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    model = CostModel(geometry, "eyeriss")
    monkeypatch.setattr(hw_sim, "search", None)
    assert model.of_if({"trunk": 4}, lambda costs: costs.cycles < 10) is None


def test_memory_is_bounded():
    memo = {}
    for key in range(100):
        assert remember(memo, key, -key, size=10) == -key
        assert memo[key] == -key
        assert len(memo) <= 10
    assert costs_module.MEMO_SIZE < 100_000
