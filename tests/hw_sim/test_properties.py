"""Properties of all layers and accelerators: conservation, bounds, monotonicity, determinism."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_sim import (
    OBJECTIVES,
    Accelerator,
    ConvLayer,
    LayerCost,
    clear_memo,
    evaluate,
    evaluate_network,
    search,
)
from tests.hw_sim.networks import resnet20
from tests.hw_sim.strategies import accelerators, layers

EYERISS = Accelerator.preset("eyeriss")
objectives = st.sampled_from(OBJECTIVES)
quick = settings(max_examples=200, deadline=None, derandomize=True)


def found(layer: ConvLayer, accelerator: Accelerator, objective: str) -> LayerCost:
    """Return the search's result; skip the case if no mapping fits."""
    try:
        return search(layer, accelerator, objective)
    except ValueError:
        assume(False)
        raise


def value(cost: LayerCost, objective: str) -> int:
    return {"latency": cost.cycles, "energy": cost.energy_fj, "edp": cost.edp}[objective]


@quick
@given(layers(largest=40), accelerators(), objectives)
def test_nothing_is_lost_and_no_bound_is_beaten(
    layer: ConvLayer, accelerator: Accelerator, objective: str
) -> None:
    cost = found(layer, accelerator, objective)
    shape, a = layer.shape, accelerator
    gated = layer.macs * layer.ifmap_zeros_per_10000 // 10_000
    assert cost.counts["mac"]["mac"] == layer.macs - gated
    assert sum(map(cost.level_fj, cost.energy_by_level_fj)) == cost.energy_fj
    dram, buffer = cost.counts["dram"], cost.counts["buffer"]
    outputs = layer.batch * layer.out_channels * layer.out_height * layer.out_width
    assert dram["ifmap"] >= layer.batch * layer.in_channels * shape.rows * shape.columns
    assert dram["filter"] >= layer.weights
    assert dram["psum"] == outputs
    assert buffer["psum"] >= 2 * outputs
    assert cost.cycles >= cost.compute_cycles >= layer.macs / a.pes
    assert cost.cycles >= buffer["psum"] / 2 / a.psum_port_words_per_cycle
    assert cost.cycles >= buffer["ifmap"] / a.ifmap_port_words_per_cycle
    assert cost.cycles >= cost.dram_words / (a.dram_words_per_cycle or cost.dram_words)
    assert 0 < cost.utilization <= 1
    assert cost.active_pes <= a.pes
    assert cost.folded == (layer.kernel[0] > a.array_rows)
    assert evaluate(layer, accelerator, cost.mapping) == cost


GROWN = ("batch", "in_channels", "out_channels", "in_height", "in_width")


@quick
@given(layers(largest=30, groups=(1,)), accelerators(), objectives, st.sampled_from(GROWN))
def test_a_larger_layer_never_costs_less(
    layer: ConvLayer, accelerator: Accelerator, objective: str, field: str
) -> None:
    larger = replace(layer, **{field: getattr(layer, field) + 1})
    # A wider map turns padding into columns that are read, never the reverse.
    after = found(larger, accelerator, objective)
    assert value(after, objective) >= value(search(layer, accelerator, objective), objective)


IMPROVED = (
    "array_rows",
    "array_columns",
    "ifmap_pad_words",
    "filter_pad_words",
    "psum_pad_words",
    "buffer_banks",
    "ifmap_port_words_per_cycle",
    "filter_port_words_per_cycle",
    "psum_port_words_per_cycle",
    "filter_buffer_bytes",
    "dram_words_per_cycle",
)


@quick
@given(layers(largest=30), accelerators(), objectives, st.sampled_from(IMPROVED), st.integers(1, 9))
def test_a_better_machine_never_costs_more(
    layer: ConvLayer, accelerator: Accelerator, objective: str, field: str, more: int
) -> None:
    assume(getattr(accelerator, field) is not None)
    better = replace(accelerator, **{field: getattr(accelerator, field) + more})
    before = found(layer, accelerator, objective)
    after = search(layer, better, objective)
    assert value(after, objective) <= value(before, objective)


@quick
@given(layers(largest=20), accelerators())
def test_each_objective_is_best_at_its_own(layer: ConvLayer, accelerator: Accelerator) -> None:
    costs = {name: found(layer, accelerator, name) for name in OBJECTIVES}
    for name in OBJECTIVES:
        assert value(costs[name], name) == min(value(cost, name) for cost in costs.values())


@quick
@given(layers(largest=20), accelerators(), st.integers(0, 10_000))
def test_zeros_save_energy_and_no_time(
    layer: ConvLayer, accelerator: Accelerator, zeros: int
) -> None:
    dense = replace(layer, ifmap_zeros_per_10000=0)
    cost = found(dense, accelerator, "latency")
    sparse = evaluate(replace(dense, ifmap_zeros_per_10000=zeros), accelerator, cost.mapping)
    assert sparse.cycles == cost.cycles
    gated = layer.macs * zeros // 10_000
    per_mac = accelerator.mac_fj + accelerator.rf_filter_fj + 2 * accelerator.rf_psum_fj
    assert cost.energy_fj - sparse.energy_fj == gated * per_mac


def test_optimum_does_not_fall_from_a_batch_of_23_to_24() -> None:
    layer = resnet20()[14]
    cycles = [search(replace(layer, batch=n), EYERISS).cycles for n in range(20, 27)]
    assert cycles == sorted(cycles)


def test_order_and_threads_do_not_matter() -> None:
    layers = resnet20()
    expected = evaluate_network(layers, EYERISS).layers
    clear_memo()
    assert evaluate_network(layers[::-1], EYERISS).layers[::-1] == expected
    clear_memo()
    with ThreadPoolExecutor(4) as pool:
        assert tuple(pool.map(lambda layer: search(layer, EYERISS), layers)) == expected


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_fresh_process_gets_the_same_figures(threads: str) -> None:
    program = (
        "from tests.hw_sim.networks import resnet20\n"
        "from hw_sim import Accelerator, evaluate_network\n"
        "cost = evaluate_network(resnet20(), Accelerator.preset('eyeriss'), 'edp')\n"
        "print([(c.cycles, c.energy_fj, tuple(c.mapping)) for c in cost.layers])\n"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    cost = evaluate_network(resnet20(), EYERISS, "edp")
    here = [(c.cycles, c.energy_fj, tuple(c.mapping)) for c in cost.layers]
    assert run.stdout.strip() == str(here)


def test_import_loads_neither_torch_nor_prune_gym_nor_matplotlib() -> None:
    program = (
        "import sys, hw_sim\n"
        "print([m for m in ('torch', 'prune_gym', 'matplotlib') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout.strip() == "[]"
