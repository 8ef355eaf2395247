"""``python -m benchmarks.studies.hw_sim.silicon``: model and Eyeriss chip, and the fit.

The figures are those of Chen et al., JSSC 52(1), 2017: AlexNet, batch 4, 200 MHz, 1 V. Three
numbers of ``eyeriss_silicon`` are fitted on this table and on nothing else. This script repeats the
fit and prints the result with the preset's numbers.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from hw_sim import Accelerator, ConvLayer, LayerCost, Mapping, evaluate


class Measured(NamedTuple):
    """A layer on the chip.

    Attributes:
        layer: The layer.
        mapping: The chip's mapping (the paper's Table III).
        power_mw: Power of the chip, DRAM left out.
        processing_ms: Time of the PE array, DRAM left out.
        active_pes: PEs in use.
        buffer_mb: Accesses of the array to the buffer, in 10^6 bytes.
        banks: Banks of 4 KiB that ifmaps and psums need, of 25.
    """

    layer: ConvLayer
    mapping: Mapping
    power_mw: int
    processing_ms: float
    active_pes: int
    buffer_mb: float
    banks: int


_CONV4 = Mapping(m=64, n=4, e=13, p=16, q=3, r=2, t=2)
CONV3_OWN = Mapping(m=64, n=4, e=13, p=16, q=4, r=1, t=4)
"""Mapping of CONV3 in Table III, which contradicts its published buffer accesses."""

ALEXNET = (
    Measured(
        ConvLayer("CONV1", 4, 3, 96, 227, 227, (11, 11), 4, 0, 1, 1),
        Mapping(m=96, n=1, e=7, p=16, q=1, r=1, t=2),
        *(332, 16.5, 154, 18.5, 23),
    ),
    Measured(
        ConvLayer("CONV2", 4, 96, 256, 27, 27, (5, 5), 1, 2, 2, 3870),
        Mapping(m=64, n=1, e=27, p=16, q=2, r=1, t=1),
        *(288, 39.2, 135, 77.6, 24),
    ),
    # The published buffer accesses of CONV3 are those of CONV4's mapping (its own gives 69.2 MB).
    Measured(
        ConvLayer("CONV3", 4, 256, 384, 13, 13, (3, 3), 1, 1, 1, 7250),
        _CONV4,
        *(266, 21.8, 156, 50.2, 25),
    ),
    Measured(
        ConvLayer("CONV4", 4, 384, 384, 13, 13, (3, 3), 1, 1, 2, 7930),
        _CONV4,
        *(235, 16.0, 156, 37.4, 25),
    ),
    Measured(
        ConvLayer("CONV5", 4, 384, 256, 13, 13, (3, 3), 1, 1, 2, 7760),
        _CONV4,
        *(236, 10.0, 156, 24.9, 25),
    ),
)


class Fit(NamedTuple):
    """The fitted numbers: cycles lost per pass, static power in mW, fJ per unit of energy."""

    pass_overhead_cycles: int
    static_power_mw: int
    unit_fj: int


def chip_energy_uj(cost: LayerCost) -> float:
    """Energy of the chip alone, DRAM left out."""
    return (cost.energy_fj - cost.level_fj("dram")) / 1e9


def fit() -> Fit:
    """Fit the overheads by least squares of the relative errors on the five layers.

    First the cycles lost per pass, in steps of 10, on the processing latency; then static power
    and the unit of energy (which the ratios 1, 1, 2, 6 multiply) on power x processing latency.
    """
    silicon = Accelerator.preset("eyeriss_silicon")

    def squares(cycles: int) -> float:
        accelerator = replace(silicon, pass_overhead_cycles=cycles)
        errors = (
            evaluate(row.layer, accelerator, row.mapping).latency_ms / row.processing_ms - 1
            for row in ALEXNET
        )
        return sum(error * error for error in errors)

    # One unit = 1 fJ, no static power: the energy is then the weighted number of accesses.
    counting = replace(silicon, mac_fj=1, rf_ifmap_fj=1, rf_filter_fj=1, rf_psum_fj=1)
    counting = replace(counting, noc_fj=2, buffer_fj=6, dram_fj=0, static_power_uw=0)
    units = np.array([evaluate(row.layer, counting, row.mapping).energy_fj for row in ALEXNET])
    measured_uj = np.array([row.power_mw * row.processing_ms for row in ALEXNET])
    times = np.array([row.processing_ms for row in ALEXNET])
    matrix = np.stack([times, units * 1e-9], axis=1) / measured_uj[:, None]
    static_mw, unit_fj = np.linalg.lstsq(matrix, np.ones(len(ALEXNET)))[0]
    return Fit(min(range(0, 1000, 10), key=squares), round(static_mw), round(unit_fj))


def main() -> None:
    """Print the fit, and a table of model and chip."""
    silicon = Accelerator.preset("eyeriss_silicon")
    print(f"fitted now: {fit()}")
    print(
        f"preset:     pass_overhead_cycles={silicon.pass_overhead_cycles}, "
        f"static_power_uw={silicon.static_power_uw}, mac_fj={silicon.mac_fj}"
    )
    print("layer   chip ms  model ms   error   chip uJ  model uJ   error  buffer MB  model MB")
    errors = []
    for row in ALEXNET:
        cost = evaluate(row.layer, silicon, row.mapping)
        late = cost.latency_ms / row.processing_ms - 1
        errors.append(late)
        chip = row.power_mw * row.processing_ms
        model = chip_energy_uj(cost)
        print(
            f"{row.layer.name:<8}{row.processing_ms:>7.1f}{cost.latency_ms:>10.2f}{late:>+8.1%}"
            f"{chip:>10.0f}{model:>10.0f}{model / chip - 1:>+8.1%}"
            f"{row.buffer_mb:>11.1f}{cost.buffer_words * 2 / 1e6:>10.2f}"
        )
    print(f"mean absolute error of the latency: {np.mean(np.abs(errors)):.1%}")


if __name__ == "__main__":
    main()
