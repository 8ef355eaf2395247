"""Values that agree with Timeloop 2.0 and nn_dataflow 2.1; the saw-tooth over channel counts."""

import pytest

from hw_sim import Accelerator, ConvLayer, evaluate_network, search
from tests.hw_sim.networks import resnet20

IDEAL = Accelerator.preset("eyeriss_ideal")


@pytest.mark.parametrize(
    ("index", "cycles"),
    [(0, 4_608), (1, 24_576), (7, 12_288)],
    ids=["conv1", "stage 1", "first of stage 2"],
)
def test_energy_optimal_layers_take_the_cycles_of_timeloop(index: int, cycles: int) -> None:
    assert search(resnet20()[index], IDEAL, "energy").cycles == cycles


@pytest.mark.parametrize(
    ("accelerator", "objective", "cycles"),
    [
        ("eyeriss_ideal", "energy", 422_400),
        ("eyeriss_ideal", "latency", 290_560),
        ("eyeriss", "energy", 456_288),
    ],
)
def test_resnet20_totals(accelerator: str, objective: str, cycles: int) -> None:
    cost = evaluate_network(resnet20(), Accelerator.preset(accelerator), objective)
    assert cost.cycles == cycles


def test_narrow_ifmap_bus_bounds_the_first_layer_of_stage_2() -> None:
    cost = search(resnet20()[7], Accelerator.preset("eyeriss"), "energy")
    assert (cost.cycles, cost.bound) == (34_848, "ifmap")


def test_saw_tooth_of_channel_counts() -> None:
    layers = [ConvLayer("x", 1, c, c, 32, 32, (3, 3), padding=1) for c in range(8, 17)]
    cycles = [search(layer, IDEAL).cycles for layer in layers]
    assert cycles == [3840, 4896, 6144, 8448, 8640, 10752, 10752, 13824, 15360]


def test_a_fourteenth_channel_costs_something_on_the_chips_buses() -> None:
    eyeriss = Accelerator.preset("eyeriss")
    at = {
        c: search(ConvLayer("x", 1, c, c, 32, 32, (3, 3), padding=1), eyeriss).cycles
        for c in (13, 14)
    }
    assert at[14] / at[13] == pytest.approx(1.077, abs=5e-4)
