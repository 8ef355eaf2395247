"""Chen et al., JSSC 52(1), 2017: AlexNet, batch 4, with the mappings used on the chip."""

from dataclasses import replace

import pytest

from benchmarks.studies.hw_sim.silicon import ALEXNET, CONV3_OWN, Measured, chip_energy_uj, fit
from hw_sim import Accelerator, LayerCost, evaluate, search

SILICON = Accelerator.preset("eyeriss_silicon")


each_layer = pytest.mark.parametrize("row", ALEXNET, ids=[row.layer.name for row in ALEXNET])


def cost_of(row: Measured) -> LayerCost:
    return evaluate(row.layer, SILICON, row.mapping)


@each_layer
def test_active_pes(row: Measured) -> None:
    assert cost_of(row).active_pes == row.active_pes


@each_layer
def test_buffer_accesses_print_the_published_digits(row: Measured) -> None:
    assert round(cost_of(row).buffer_words * 2 / 1e6, 1) == row.buffer_mb


def test_buffer_accesses_of_conv3_with_its_own_row_of_table_3() -> None:
    cost = evaluate(ALEXNET[2].layer, SILICON, CONV3_OWN)
    assert round(cost.buffer_words * 2 / 1e6, 1) == 69.2
    assert cost.active_pes == 156
    evaluate(cost.layer, replace(SILICON, buffer_banks=24), CONV3_OWN)
    with pytest.raises(ValueError, match="= 24 exceeds buffer_banks = 23"):
        evaluate(cost.layer, replace(SILICON, buffer_banks=23), CONV3_OWN)


@each_layer
def test_mapping_needs_the_chips_banks_and_no_fewer(row: Measured) -> None:
    evaluate(row.layer, replace(SILICON, buffer_banks=row.banks), row.mapping)
    with pytest.raises(ValueError, match=f"= {row.banks} exceeds buffer_banks = {row.banks - 1}"):
        evaluate(row.layer, replace(SILICON, buffer_banks=row.banks - 1), row.mapping)


@each_layer
def test_processing_latency_of_a_layer_within_8_percent(row: Measured) -> None:
    assert cost_of(row).latency_ms == pytest.approx(row.processing_ms, rel=0.08)


def test_processing_latency_within_5_percent_in_the_mean() -> None:
    errors = [abs(cost_of(row).latency_ms / row.processing_ms - 1) for row in ALEXNET]
    assert sum(errors) / len(errors) < 0.05


@each_layer
def test_chip_energy_within_12_percent(row: Measured) -> None:
    """The fit has two parameters for five layers; the chip's power excludes DRAM."""
    assert chip_energy_uj(cost_of(row)) == pytest.approx(row.power_mw * row.processing_ms, rel=0.12)


@each_layer
def test_dram_words_cover_each_tensor_once(row: Measured) -> None:
    layer, dram = row.layer, cost_of(row).counts["dram"]
    assert dram["ifmap"] >= layer.batch * layer.in_channels * layer.in_height * layer.in_width
    assert dram["filter"] >= layer.weights
    outputs = layer.batch * layer.out_channels * layer.out_height * layer.out_width
    assert dram["psum"] == outputs


@each_layer
def test_searched_mapping_is_no_slower_than_the_chips(row: Measured) -> None:
    assert search(row.layer, SILICON, "latency").cycles <= cost_of(row).cycles


def test_fitted_numbers_of_the_preset_are_those_of_the_fit() -> None:
    fitted = fit()
    assert SILICON.pass_overhead_cycles == fitted.pass_overhead_cycles
    assert SILICON.static_power_uw == 1000 * fitted.static_power_mw
    assert SILICON.mac_fj == SILICON.rf_psum_fj == fitted.unit_fj
    assert (SILICON.noc_fj, SILICON.buffer_fj) == (2 * fitted.unit_fj, 6 * fitted.unit_fj)
