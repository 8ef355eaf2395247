"""Systolic arrays match SCALE-Sim cycle by cycle; other results match an executed loop nest."""

from collections import Counter
from dataclasses import replace
from itertools import product
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw_sim import (
    OBJECTIVES,
    Accelerator,
    ConvLayer,
    Mapping,
    SystolicMapping,
    evaluate,
    evaluate_network,
    search,
)
from tests.hw_sim.networks import resnet20
from tests.hw_sim.strategies import layers

TPU = Accelerator.preset("tpu_like")


def scale_sim_cycles(layer: ConvLayer, rows: int, columns: int) -> int:
    """Samajdar et al., ISPASS 2020: (2 R + C + T - 2) cycles per fold, weight stationary."""
    pixels = layer.batch * layer.out_height * layer.out_width
    folds = ceil(layer.weights // layer.out_channels / rows)
    folds *= layer.groups * ceil(layer.out_channels // layer.groups / columns)
    return (2 * rows + columns + pixels - 2) * folds


def test_resnet20_on_12_x_14_pes_takes_the_cycles_of_scale_sim_3() -> None:
    array = replace(TPU, array_rows=12, array_columns=14)
    cycles = evaluate_network(resnet20(), array).cycles
    # SCALE-Sim prints the index of a layer's last cycle, one less than the number of cycles.
    assert cycles - 19 == 406_613


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layers(largest=9), st.integers(1, 40), st.integers(1, 40))
def test_systolic_cycles_are_scale_sims_closed_form(
    layer: ConvLayer, rows: int, columns: int
) -> None:
    wide = {
        "ifmap_port_words_per_cycle": rows,
        "filter_port_words_per_cycle": columns,
        "psum_port_words_per_cycle": columns,
    }
    array = replace(TPU, array_rows=rows, array_columns=columns, **wide)
    assert search(layer, array).cycles == scale_sim_cycles(layer, rows, columns)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_counts_are_those_of_the_executed_loop_nest(data: st.DataObject) -> None:
    layer = data.draw(layers(largest=4))
    dataflow = data.draw(st.sampled_from(["systolic", "broadcast"]))
    array = replace(
        TPU,
        dataflow=dataflow,
        array_rows=data.draw(st.integers(1, 9)),
        array_columns=data.draw(st.integers(1, 5)),
        filter_buffer_bytes=data.draw(st.sampled_from([1, 20, 4000])),
        ifmap_port_words_per_cycle=data.draw(st.integers(1, 4)),
    )
    mapping = SystolicMapping(
        data.draw(st.integers(1, array.array_rows)),
        data.draw(st.integers(1, array.array_columns)),
        data.draw(st.integers(1, layer.batch)),
        data.draw(st.integers(1, layer.out_height)),
    )
    cost = evaluate(layer, array, mapping)
    counted = {
        (level, name): words
        for level in ("buffer", "noc")
        for name, words in cost.counts[level].items()
    }
    assert counted == traced(layer, array, mapping)
    assert cost.counts["dram"]["psum"] == (
        layer.batch * layer.out_channels * layer.out_height * layer.out_width
    )
    assert cost.counts["dram"]["filter"] >= layer.weights


def traced(layer: ConvLayer, array: Accelerator, mapping: SystolicMapping) -> Counter:
    """Count the words at each level by executing the passes one by one."""
    rows, columns, n, e = mapping
    channels, filters = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    if array.dataflow == "broadcast":
        taps = product(range(layer.kernel[0]), range(layer.kernel[1]))
        lines = [[(c, *tap) for c in range(channels)] for tap in taps]
    else:
        lines = [list(product(range(channels), *map(range, layer.kernel)))]
    blocks = [line[i : i + rows] for line in lines for i in range(0, len(line), rows)]
    words: Counter = Counter()
    for _group, image, row, first, terms in product(
        range(layer.groups),
        range(0, layer.batch, n),
        range(0, layer.out_height, e),
        range(0, filters, columns),
        blocks,
    ):
        pixels = min(n, layer.batch - image) * min(e, layer.out_height - row) * layer.out_width
        held = min(columns, filters - first)
        words["buffer", "ifmap"] += pixels * len(terms)
        words["buffer", "psum"] += 2 * pixels * held
        words["noc", "ifmap"] += pixels * len(terms) * held
        words["noc", "psum"] += pixels * len(terms) * held
        words["noc", "filter"] += len(terms) * held
    return words


def test_broadcast_array_streams_a_pixel_a_cycle() -> None:
    nvdla = replace(Accelerator.preset("nvdla_like"), dram_words_per_cycle=None)
    layer = ConvLayer("x", 1, 65, 33, 16, 16, (3, 3), padding=1)
    # 65 channels and 33 filters just miss 64 x 32 PEs: 2 x 2 blocks for each of 9 kernel positions.
    assert search(layer, nvdla).cycles == 256 * 9 * 2 * 2


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_search_is_the_best_of_all_feasible_mappings(objective: str) -> None:
    array = replace(
        Accelerator.preset("simba_pe"), array_rows=5, array_columns=4, buffer_banks=4,
        buffer_bank_bytes=64,
    )  # fmt: skip
    layer = ConvLayer("x", 2, 7, 6, 5, 5, (3, 3), padding=1)
    costs = []
    for sizes in product(range(1, 6), range(1, 5), range(1, 3), range(1, 6)):
        try:
            costs.append(evaluate(layer, array, SystolicMapping(*sizes)))
        except ValueError:
            continue
    value = {
        "latency": lambda cost: cost.cycles,
        "energy": lambda cost: cost.energy_fj,
        "edp": lambda cost: cost.edp,
    }[objective]
    assert 0 < len(costs) < 5 * 4 * 2 * 5
    assert value(search(layer, array, objective)) == min(map(value, costs))


def test_mapping_of_the_other_dataflow_is_refused() -> None:
    layer = ConvLayer("x", 1, 4, 4, 8, 8, (3, 3))
    with pytest.raises(TypeError, match="needs a SystolicMapping"):
        evaluate(layer, TPU, Mapping(m=4, n=1, e=4, p=4, q=1, r=1, t=1))
    with pytest.raises(TypeError, match="needs a Mapping"):
        evaluate(layer, Accelerator.preset("eyeriss"), SystolicMapping(4, 4, 1, 4))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (SystolicMapping(257, 1, 1, 1), "rows = 257 exceeds array_rows = 256"),
        (SystolicMapping(1, 257, 1, 1), "columns = 257 exceeds array_columns = 256"),
        (SystolicMapping(1, 1, 2, 1), "n = 2 exceeds the batch = 1"),
        (SystolicMapping(1, 1, 1, 7), "e = 7 exceeds the output rows = 6"),
        (SystolicMapping(0, 1, 1, 1), "rows=0"),
    ],
)
def test_infeasible_mapping_names_the_constraint(mapping: SystolicMapping, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(ConvLayer("x", 1, 4, 4, 8, 8, (3, 3)), TPU, mapping)
