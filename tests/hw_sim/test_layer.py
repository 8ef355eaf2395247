"""Layers of every kind: what they read, and how other operations are expressed as layers."""

import pytest
from hypothesis import given, settings

from hw_sim import Accelerator, ConvLayer, presets, search
from tests.hw_sim.oracle import read_columns, read_rows
from tests.hw_sim.strategies import layers


@settings(max_examples=300, deadline=None, derandomize=True)
@given(layers(largest=12))
def test_shape_holds_the_rows_and_columns_that_the_outputs_read(layer: ConvLayer) -> None:
    rows = read_rows(layer, range(layer.out_height), range(layer.kernel[0]))
    columns = read_columns(layer)
    (top, bottom), (left, right) = layer.padding
    assert max(rows) < top + layer.in_height + bottom
    assert max(rows) + layer.stride[0] >= top + layer.in_height + bottom
    assert max(columns) + layer.stride[1] >= left + layer.in_width + right
    assert len(columns) == layer.shape.W
    assert layer.shape.rows == sum(top <= row < top + layer.in_height for row in rows)
    assert layer.shape.columns == sum(left <= x < left + layer.in_width for x in columns)


def test_an_integer_means_both_directions() -> None:
    one = ConvLayer("x", 1, 4, 4, 9, 9, (3, 3), 2, 1, dilation=2)
    two = ConvLayer("x", 1, 4, 4, 9, 9, (3, 3), (2, 2), (1, 1), dilation=(2, 2))
    assert one == two == ConvLayer("x", 1, 4, 4, 9, 9, (3, 3), 2, ((1, 1), (1, 1)), dilation=2)


@pytest.mark.parametrize("preset", presets())
@pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
def test_projection_with_a_stride_costs_what_it_reads(preset: str, objective: str) -> None:
    accelerator = Accelerator.preset(preset)
    skips = search(ConvLayer("x", 1, 16, 32, 32, 32, (1, 1), 2), accelerator, objective)
    whole = search(ConvLayer("x", 1, 16, 32, 16, 16, (1, 1)), accelerator, objective)
    assert skips.counts == whole.counts
    assert (skips.cycles, skips.energy_fj) == (whole.cycles, whole.energy_fj)
    assert skips.counts["dram"]["ifmap"] == 16 * 16 * 16


def test_products_of_attention_have_weights_of_their_own() -> None:
    layer = ConvLayer.matmul("qk", batch=6, rows=50, inner=64, columns=49)
    assert layer.macs == 6 * 50 * 64 * 49
    assert layer.weights == 6 * 64 * 49
    cost = search(layer, Accelerator.preset("eyeriss"), "energy")
    assert cost.counts["dram"]["psum"] == 6 * 50 * 49
    assert cost.counts["dram"]["filter"] >= 6 * 64 * 49


def test_transposed_convolution_multiplies_each_pixel_with_each_weight() -> None:
    layer = ConvLayer.transposed("up", 2, 6, 4, 7, 5, kernel=(3, 2), groups=2)
    assert layer.macs == 2 * 7 * 5 * (3 * 2) * 6 * 4 // 2
    assert layer.weights == 6 * 4 * 3 * 2 // 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConvLayer("x", 1, 1, 1, 9, 9, (3, 3), (1, 0)), "stride=0"),
        (lambda: ConvLayer("x", 1, 1, 1, 9, 9, (3, 3), dilation=(0, 1)), "dilation=0"),
        (lambda: ConvLayer("x", 1, 1, 1, 9, 9, (3, 3), (1, 1, 1)), r"stride=\(1, 1, 1\) is not"),
        (lambda: ConvLayer("x", 1, 1, 1, 9, 9, (3, 3), 1, ((1,), 1)), r"padding=\(\(1,\), 1\)"),
        (lambda: ConvLayer("x", 1, 1, 1, 4, 9, (3, 3), dilation=2), r"dilation=\(2, 2\) is larger"),
        (lambda: ConvLayer.matmul("x", 1, 0, 1, 1), "rows=0"),
        (lambda: ConvLayer.transposed("x", 1, 1, 1, 4, 4, (0, 2)), "kernel=0"),
    ],
)
def test_wrong_sizes_are_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
