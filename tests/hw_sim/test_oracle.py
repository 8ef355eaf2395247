"""Counts are compared with an executed loop nest, the search with all feasible mappings."""

from dataclasses import replace
from itertools import product
from math import ceil

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_sim import OBJECTIVES, Accelerator, ConvLayer, LayerCost, Mapping, evaluate, search
from tests.hw_sim.oracle import run
from tests.hw_sim.strategies import accelerators, layers


def mappings(layer: ConvLayer) -> st.SearchStrategy[Mapping]:
    sizes = st.integers(1, 4)
    return st.builds(
        lambda k, n, e, p, q, r, t, order: Mapping(k * p * t, n, e, p, q, r, t, order),
        k=st.integers(1, 3),
        n=st.integers(1, layer.batch),
        e=st.integers(1, layer.out_height),
        p=sizes,
        q=sizes,
        r=sizes,
        t=st.integers(1, 6),
        order=st.sampled_from(["NEM", "MNE"]),
    )


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_counts_and_cycles_are_those_of_the_executed_loop_nest(data: st.DataObject) -> None:
    layer = data.draw(layers(largest=5))
    accelerator = replace(
        data.draw(accelerators()),
        array_columns=32,
        ifmap_pad_words=99,
        filter_pad_words=999,
        psum_pad_words=99,
        buffer_banks=99,
        buffer_bank_bytes=4096,
        fill_and_drain=False,
        dram_words_per_cycle=None,
    )
    mapping = data.draw(mappings(layer))
    sets = accelerator.array_rows // min(layer.kernel[0], accelerator.array_rows)
    assume(mapping.r * mapping.t <= sets * (32 // mapping.e))
    cost, trace = evaluate(layer, accelerator, mapping), run(layer, accelerator, mapping)
    macs = len(trace.macs)
    assert trace.repeated_macs == 0
    assert macs == layer.macs
    performed = macs - macs * layer.ifmap_zeros_per_10000 // 10_000
    assert cost.counts == {
        "mac": {"mac": performed},
        "rf": {
            "ifmap": macs + trace.noc_ifmap,
            "filter": performed + trace.noc_filter,
            "psum": 2 * performed,
        },
        "noc": {"ifmap": trace.noc_ifmap, "filter": trace.noc_filter, "psum": trace.noc_psum},
        "buffer": {"ifmap": trace.buffer_ifmap, "psum": trace.buffer_psum},
        "dram": {
            "ifmap": trace.dram_ifmap,
            "filter": trace.dram_filter,
            "psum": len(trace.outputs),
        },
    }
    assert cost.compute_cycles == trace.compute
    assert cost.cycles == ceil(trace.cycles)


def all_mappings(layer: ConvLayer, accelerator: Accelerator) -> list[Mapping]:
    """All mappings that could be feasible, including dominated ones."""
    filters = layer.out_channels // layer.groups
    channels = layer.in_channels // layer.groups
    sets = accelerator.pes
    found = []
    for e, n, r, t in product(
        range(1, layer.out_height + 1),
        range(1, layer.batch + 1),
        range(1, min(channels, sets) + 1),
        range(1, min(filters * layer.groups, sets) + 1),
    ):
        if r * t * e > sets * 2:
            continue
        for p, q in product(range(1, filters + 1), range(1, channels + 1)):
            for k in range(1, ceil(filters / (p * t)) + 1):
                found += [Mapping(k * p * t, n, e, p, q, r, t, order) for order in ("NEM", "MNE")]
    return found


def rank(cost: LayerCost, objective: str) -> tuple:
    value = {"latency": cost.cycles, "energy": cost.energy_fj, "edp": cost.edp}[objective]
    m, n, e, p, q, r, t, order = cost.mapping
    order_index = ("NEM", "MNE").index(order)
    words = (cost.dram_words, cost.buffer_words)
    return (value, cost.cycles, *words, e, n, m, p, q, r, t, order_index)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    layers(largest=3, groups=(1, 1, 2)),
    accelerators(smallest=3),
)
def test_search_finds_the_best_of_all_mappings(layer: ConvLayer, accelerator: Accelerator) -> None:
    # If the outputs read only padding, nothing is loaded and m does not matter.
    assume(layer.shape.rows * layer.shape.columns > 0)
    costs = []
    for mapping in all_mappings(layer, accelerator):
        try:
            costs.append(evaluate(layer, accelerator, mapping))
        except ValueError:
            continue
    for objective in OBJECTIVES:
        if not costs:
            with pytest.raises(ValueError, match="No mapping of layer"):
                search(layer, accelerator, objective)
            continue
        best = min(costs, key=lambda cost: rank(cost, objective))
        found = search(layer, accelerator, objective)
        assert rank(found, objective) == rank(best, objective)
        assert found == best
