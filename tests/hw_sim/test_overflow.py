"""No layer of a known network is refused, and the limits of int64 hold for every mapping."""

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hw_sim import OBJECTIVES, Accelerator, ConvLayer, Mapping, SystolicMapping, evaluate, search
from hw_sim import overflow as limits
from hw_sim.machine import machine
from tests.hw_sim.strategies import accelerators, layers
from tests.hw_sim.test_weight_stationary import small_arrays

CORE = ("eyeriss", "eyeriss_silicon", "eyeriss_256", "tpu_like", "nvdla_like")


@pytest.mark.parametrize("objective", ["energy", "edp"])
def test_energy_that_overflows_under_poor_mappings_only(objective: str) -> None:
    """All coefficients times 1000 change no decision, although poor mappings then overflow."""
    names = ("mac_fj", "rf_ifmap_fj", "rf_filter_fj", "rf_psum_fj", "noc_fj", "buffer_fj")
    small = replace(Accelerator.preset("eyeriss"), dram_fj=10**6)
    small = replace(small, **{name: getattr(small, name) // 1000 for name in names})
    large = replace(small, **{name: 1000 * getattr(small, name) for name in (*names, "dram_fj")})
    layer = ConvLayer("x", 1, 4096, 4096, 56, 56, (3, 3), padding=1)
    cost = search(layer, large, objective)
    poor = evaluate(layer, large, Mapping(m=1, n=1, e=1, p=1, q=1, r=1, t=1))
    assert poor.energy_fj > limits.MOST > cost.energy_fj
    assert cost.mapping == search(layer, small, objective).mapping


@pytest.mark.parametrize("preset", ["eyeriss", "tpu_like"])
def test_energy_that_does_overflow_is_refused_where_it_decides(preset: str) -> None:
    costly = replace(Accelerator.preset(preset), dram_fj=10**9)
    layer = ConvLayer("x", 1, 60_000, 120_000, 1, 1, (1, 1))
    assert search(layer, costly, "latency").energy_fj > limits.MOST
    for objective in ("energy", "edp"):
        with pytest.raises(ValueError, match=r"'x'.*its energy may reach"):
            search(layer, costly, objective)


def large_layers(batch: int) -> list[ConvLayer]:
    """The largest layers of AlexNet, VGG-16, ResNet-50, ConvNeXt-L and ViT-L."""
    return [
        ConvLayer("alexnet.227", batch, 3, 96, 227, 227, (11, 11), 4),
        ConvLayer("alexnet.224", batch, 3, 64, 224, 224, (11, 11), 4, 2),
        ConvLayer("vgg.conv1_2", batch, 64, 64, 224, 224, (3, 3), padding=1),
        ConvLayer("vgg.fc6", batch, 25_088, 4096, 1, 1, (1, 1)),
        ConvLayer("resnet50.conv1", batch, 3, 64, 224, 224, (7, 7), 2, 3),
        ConvLayer("convnext.depthwise", batch, 192, 192, 56, 56, (7, 7), padding=3, groups=192),
        ConvLayer("vit.mlp", batch, 1024, 4096, 197, 1, (1, 1)),
        ConvLayer.matmul("vit.attention", 16 * batch, 197, 64, 197),
    ]


@pytest.mark.parametrize("preset", CORE)
def test_no_layer_of_a_known_network_is_refused(preset: str) -> None:
    for layer in large_layers(batch=64):
        limits.check_range(layer, Accelerator.preset(preset))


@pytest.mark.parametrize("size", [224, 227])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_first_layer_of_alexnet_on_a_large_array(size: int, objective: str) -> None:
    layer = ConvLayer("conv1", 4, 3, 96, size, size, (11, 11), 4)
    cost = search(layer, Accelerator.preset("tpu_like"), objective)
    assert cost.counts["mac"]["mac"] == layer.macs
    # All 96 filters fit in the columns, and 363 terms in two blocks of the 256 rows.
    pixels = layer.out_height * layer.out_width
    if objective == "latency":
        assert cost.cycles == 2 * (2 * 256 + 256 - 2 + 4 * pixels)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_limits_hold_for_every_row_stationary_mapping(data: st.DataObject) -> None:
    layer, accelerator = data.draw(layers()), data.draw(accelerators())
    p, t, k = (data.draw(st.integers(1, size)) for size in (4, 6, 3))
    n, e = data.draw(st.integers(1, layer.batch)), data.draw(st.integers(1, layer.out_height))
    q, r = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    mapping = Mapping(k * p * t, n, e, p, q, r, t, data.draw(st.sampled_from(["NEM", "MNE"])))
    try:
        cost = evaluate(layer, accelerator, mapping)
    except ValueError:
        assume(False)
        raise
    h, s = machine(accelerator), layer.shape
    largest = limits._row_stationary_counts(s, h)
    assert all(value <= most for value, most in zip(flat(cost), largest, strict=True))
    assert cost.cycles * h.ticks <= limits._row_stationary_ticks(s, h, largest)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.data())
def test_limits_hold_for_every_weight_stationary_mapping(data: st.DataObject) -> None:
    layer, array = data.draw(layers()), data.draw(small_arrays())
    mapping = SystolicMapping(
        data.draw(st.integers(1, array.array_rows)),
        data.draw(st.integers(1, array.array_columns)),
        data.draw(st.integers(1, layer.batch)),
        data.draw(st.integers(1, layer.out_height)),
    )
    try:
        cost = evaluate(layer, array, mapping)
    except ValueError:
        assume(False)
        raise
    h, s = machine(array), layer.shape
    largest = limits._weight_stationary_counts(s)
    assert all(value <= most for value, most in zip(flat(cost), largest, strict=True))
    assert cost.cycles <= limits._weight_stationary_cycles(s, h, largest)


def flat(cost) -> list[int]:
    """Counts in the order of ``hw_sim.machine.Counts``."""
    return [value for level in cost.counts.values() for value in level.values()]
