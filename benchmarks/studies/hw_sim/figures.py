"""``python -m benchmarks.studies.hw_sim.figures``: the figures of docs/hw_sim.md."""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.studies.hw_sim import resnet20
from benchmarks.studies.hw_sim.silicon import ALEXNET, chip_energy_uj
from hw_sim import Accelerator, ConvLayer, evaluate, evaluate_network, search
from hw_sim.plot import cost_figure, save_figure

_CHIP, _MODEL, _PROPORTIONAL = "#0072B2", "#E69F00", "#999999"


def saw_tooth(largest: int = 32) -> Figure:
    """Latency-optimal cycles of a 3 x 3 layer on 32 x 32 maps over its number of channels."""
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    channels = range(4, largest + 1)
    layers = [ConvLayer("x", 1, c, c, 32, 32, (3, 3), padding=1) for c in channels]
    for name, colour in (("eyeriss_ideal", _CHIP), ("eyeriss", _MODEL)):
        accelerator = Accelerator.preset(name)
        cycles = [search(layer, accelerator).cycles for layer in layers]
        axes.step(channels, cycles, where="mid", color=colour, label=name)
        axes.plot(channels, cycles, ".", color=colour)
    ideal = [layer.macs / Accelerator.preset("eyeriss_ideal").pes for layer in layers]
    axes.plot(channels, ideal, "--", color=_PROPORTIONAL, label="MACs / 168 PEs")
    axes.set_xlabel("channels and filters of the layer")
    axes.set_ylabel("cycles")
    axes.set_ylim(0)
    axes.set_xticks(range(4, largest + 1, 2))
    axes.legend()
    return figure


def silicon() -> Figure:
    """Processing latency and energy of AlexNet's layers: the chip and the model."""
    accelerator = Accelerator.preset("eyeriss_silicon")
    costs = [evaluate(row.layer, accelerator, row.mapping) for row in ALEXNET]
    times = [row.processing_ms for row in ALEXNET], [cost.latency_ms for cost in costs]
    energies = (
        [row.power_mw * row.processing_ms / 1e3 for row in ALEXNET],
        [chip_energy_uj(cost) / 1e3 for cost in costs],
    )
    labels = "processing latency (ms)", "energy of the chip, DRAM left out (mJ)"
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    places = range(len(ALEXNET))
    for axes, label, (chip, model) in zip(
        figure.subplots(1, 2), labels, (times, energies), strict=True
    ):
        axes.bar([x - 0.2 for x in places], chip, 0.4, color=_CHIP, label="chip")
        axes.bar([x + 0.2 for x in places], model, 0.4, color=_MODEL, label="eyeriss_silicon")
        for x, a, b in zip(places, chip, model, strict=True):
            axes.annotate(f"{b / a - 1:+.0%}", (x, max(a, b)), ha="center", va="bottom", fontsize=8)
        axes.set_xticks(places, [row.layer.name for row in ALEXNET])
        axes.set_ylabel(label)
        axes.margins(y=0.1)
    figure.axes[0].legend()
    return figure


def main() -> None:
    """Write the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.studies.hw_sim.figures")
    parser.add_argument("--out", type=Path, default=Path("docs/img"), help="default: %(default)s")
    out = parser.parse_args().out
    names = ("eyeriss", "eyeriss_silicon")
    networks = [evaluate_network(resnet20(), Accelerator.preset(name)) for name in names]
    save_figure(saw_tooth(), out / "hw_sim_sawtooth.png")
    save_figure(silicon(), out / "hw_sim_silicon.png")
    save_figure(cost_figure(networks, ["ResNet-20"] * 2), out / "hw_sim_resnet20.png")


if __name__ == "__main__":
    main()
