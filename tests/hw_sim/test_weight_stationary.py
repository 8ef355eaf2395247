"""Systolic arrays match SCALE-Sim cycle by cycle; other results match an executed loop nest."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import ceil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_sim import (
    OBJECTIVES,
    Accelerator,
    ConvLayer,
    LayerCost,
    Mapping,
    SystolicMapping,
    evaluate,
    evaluate_network,
    search,
)
from tests.hw_sim.networks import resnet20
from tests.hw_sim.oracle import read_columns, read_rows
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


def executed(layer: ConvLayer, a: Accelerator, mapping: SystolicMapping) -> tuple[int, ...]:
    """Cycles, energy, DRAM words and buffer words by executing the passes one by one.

    It shares no formula with ``hw_sim.weight_stationary``.
    """
    _, columns, n, e = mapping
    words = traced(layer, a, mapping)
    cycles = sum(pass_cycles(layer, a, mapping))
    taps, filters = range(layer.kernel[0]), layer.out_channels // layer.groups
    dram: Counter = Counter(psum=layer.batch * layer.out_channels * pixels_of(layer))
    banks = 8 * a.buffer_bank_bytes // a.word_bits
    in_map = range(layer.padding[0][0], layer.padding[0][0] + layer.in_height)
    columns_read = read_columns(layer)
    left = layer.padding[1][0]
    stored = sum(left <= x < left + layer.in_width for x in columns_read)
    channels = layer.in_channels // layer.groups
    rows_of = len(read_rows(layer, range(e), taps))
    psums = ceil(n * e * layer.out_width * min(columns, filters) / banks)
    stay = ceil(n * channels * rows_of * len(columns_read) / banks) + psums <= a.buffer_banks
    for row in range(0, layer.out_height, e):
        rows = read_rows(layer, range(row, min(row + e, layer.out_height)), taps)
        padding = rows - read_rows(layer, range(row), taps) - set(in_map)
        tile = layer.batch * layer.in_channels * stored * (len(rows) - len(padding))
        dram["ifmap"] += tile * (1 if stay else ceil(filters / columns))
    kept = layer.weights // layer.groups * a.word_bits <= 8 * a.filter_buffer_bytes
    dram["filter"] = layer.weights if kept else words["noc", "filter"]
    if a.dram_words_per_cycle:
        cycles = max(cycles, ceil(sum(dram.values()) / a.dram_words_per_cycle))
        if a.fill_and_drain:
            ends = mapping.rows * columns + n * e * layer.out_width * columns
            cycles += ceil(ends / a.dram_words_per_cycle)
    performed = layer.macs - layer.macs * layer.ifmap_zeros_per_10000 // 10_000
    noc = sum(count for (level, _), count in words.items() if level == "noc")
    buffer = words["buffer", "ifmap"] + words["buffer", "psum"]
    energy = performed * (a.mac_fj + a.rf_filter_fj + 2 * a.rf_psum_fj)
    energy += 2 * layer.macs * a.rf_ifmap_fj + words["noc", "filter"] * a.rf_filter_fj
    energy += noc * a.noc_fj + buffer * a.buffer_fj + sum(dram.values()) * a.dram_fj
    energy += cycles * a.static_power_uw * 1000 // a.clock_mhz
    return cycles, energy, sum(dram.values()), buffer


def pixels_of(layer: ConvLayer) -> int:
    return layer.out_height * layer.out_width


def pass_cycles(layer: ConvLayer, a: Accelerator, mapping: SystolicMapping) -> Iterator[int]:
    """Cycles of each pass: those of the slowest of the array and the three ports."""
    rows, columns, n, e = mapping
    filters = layer.out_channels // layer.groups
    terms = layer.in_channels // layer.groups
    turns = layer.kernel[0] * layer.kernel[1]
    if a.dataflow == "systolic":
        terms, turns = terms * turns, 1
    for image, row, term, column in product(
        range(0, layer.batch, n),
        range(0, layer.out_height, e),
        range(0, terms, rows),
        range(0, filters, columns),
    ):
        pixels = min(n, layer.batch - image) * min(e, layer.out_height - row) * layer.out_width
        k, m = min(rows, terms - term), min(columns, filters - column)
        array = pixels + (a.array_rows + a.array_columns - 2 if a.dataflow == "systolic" else 0)
        slowest = max(
            array + (0 if a.filter_load_overlaps else a.array_rows),
            ceil(pixels * m / a.psum_port_words_per_cycle),
            ceil(pixels * k / a.ifmap_port_words_per_cycle),
            ceil(k * m / a.filter_port_words_per_cycle),
        )
        yield layer.groups * turns * (slowest + a.pass_overhead_cycles)


@st.composite
def small_arrays(draw):
    return replace(
        TPU,
        dataflow=draw(st.sampled_from(["systolic", "broadcast"])),
        array_rows=draw(st.integers(1, 6)),
        array_columns=draw(st.integers(1, 4)),
        buffer_banks=draw(st.integers(2, 6)),
        buffer_bank_bytes=draw(st.sampled_from([8, 64, 1024])),
        filter_buffer_bytes=draw(st.sampled_from([1, 20, 4000])),
        ifmap_port_words_per_cycle=draw(st.integers(1, 4)),
        filter_port_words_per_cycle=draw(st.integers(1, 4)),
        psum_port_words_per_cycle=draw(st.integers(1, 4)),
        dram_words_per_cycle=draw(st.sampled_from([None, 1, 3])),
        fill_and_drain=draw(st.booleans()),
        filter_load_overlaps=draw(st.booleans()),
        pass_overhead_cycles=draw(st.sampled_from([0, 5])),
        static_power_uw=draw(st.sampled_from([0, 70_000])),
    )


@settings(max_examples=80, deadline=None, derandomize=True)
@given(layers(largest=4), small_arrays())
def test_search_is_the_best_of_all_executed_mappings(layer: ConvLayer, array: Accelerator) -> None:
    """All tiles and column counts are tried, and the fewest and smallest blocks of terms."""
    filters, terms = layer.out_channels // layer.groups, layer.in_channels // layer.groups
    if array.dataflow == "systolic":
        terms *= layer.kernel[0] * layer.kernel[1]
    rows = ceil(terms / ceil(terms / array.array_rows))
    ranked: dict[str, list[tuple[tuple[int, ...], SystolicMapping]]] = {o: [] for o in OBJECTIVES}
    for columns, n, e in product(
        range(1, min(filters, array.array_columns) + 1),
        range(1, layer.batch + 1),
        range(1, layer.out_height + 1),
    ):
        psums = n * e * layer.out_width * min(columns, filters)
        if ceil(psums / array.buffer_bank_bytes) >= array.buffer_banks:
            continue
        mapping = SystolicMapping(rows, columns, n, e)
        cycles, energy, *words = executed(layer, array, mapping)
        cost = evaluate(layer, array, mapping)
        assert (cost.cycles, cost.energy_fj, cost.dram_words) == (cycles, energy, words[0])
        for objective, value in zip(OBJECTIVES, (cycles, energy, cycles * energy), strict=True):
            ranked[objective].append(((value, cycles, *words, e, n, rows, columns), mapping))
    for objective in OBJECTIVES:
        if ranked[objective]:
            assert search(layer, array, objective).mapping == min(ranked[objective])[1]
        else:
            with pytest.raises(ValueError, match="No mapping of layer"):
                search(layer, array, objective)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(layers(largest=3), small_arrays(), st.sampled_from(OBJECTIVES))
def test_other_numbers_of_rows_are_no_better(
    layer: ConvLayer, array: Accelerator, objective: str
) -> None:
    values = []
    for sizes in product(
        range(1, array.array_rows + 1),
        range(1, array.array_columns + 1),
        range(1, layer.batch + 1),
        range(1, layer.out_height + 1),
    ):
        try:
            values.append(value_of(evaluate(layer, array, SystolicMapping(*sizes)), objective))
        except ValueError:
            continue
    assume(values)
    # The first load counts idle rows and columns too, so the comparison leaves it out.
    assume(not (array.fill_and_drain and array.dram_words_per_cycle))
    assert value_of(search(layer, array, objective), objective) == min(values)


def value_of(cost: LayerCost, objective: str) -> int:
    return {"latency": cost.cycles, "energy": cost.energy_fj, "edp": cost.edp}[objective]


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
