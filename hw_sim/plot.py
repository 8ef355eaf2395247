"""Plot a network's cost per layer: stacked energy by level, and latency."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hw_sim.cost import LEVELS, NetworkCost

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {
    "mac": "MAC",
    "rf": "RF",
    "noc": "NoC",
    "buffer": "buffer",
    "dram": "DRAM",
    "static": "static",
}
# Okabe and Ito's palette, which colour-blind readers can distinguish.
_COLOURS = ("#999999", "#56B4E9", "#009E73", "#E69F00", "#0072B2", "#CC79A7")
_LATENCY = "#333333"


def cost_figure(networks: Sequence[NetworkCost], labels: Sequence[str] = ("",)) -> "Figure":
    """Draw the costs of one or more networks per layer, one network per row.

    Args:
        networks: Costs of the networks. If all have the same number of layers, they share one axis
            with the layer names of the first. Otherwise (ALF splits layers) each has its own axis.
        labels: Title of each network.

    Returns:
        A matplotlib figure with one row per network: energy in uJ by level on the left, latency in
        ms on the right. All rows use the same scales.

    Raises:
        ValueError: If there is no network, or the number of labels differs.
    """
    from matplotlib.figure import Figure

    if not networks or len(labels) != len(networks):
        raise ValueError(
            f"{len(networks)} networks and {len(labels)} labels; pass one label per network, "
            "and at least one network."
        )
    counts = [len(network.layers) for network in networks]
    same = len(set(counts)) == 1
    heights = [0.9 + 0.22 * count for count in counts]
    figure = Figure(figsize=(11, 0.9 + sum(heights)), layout="constrained")
    axes = figure.subplots(
        len(networks),
        2,
        sharex="col",
        sharey=True if same else "row",
        squeeze=False,
        height_ratios=heights,
    )
    for (energy, latency), network, label in zip(axes, networks, labels, strict=True):
        _draw_energy(energy, network)
        _draw_latency(latency, network)
        where = f"{label} on {network.accelerator.name}" if label else network.accelerator.name
        energy.set_title(f"{where}: {network.energy_uj:.1f} uJ", fontsize=10)
        latency.set_title(f"{where}: {network.latency_ms:.3f} ms", fontsize=10)
    first, last = axes[0], axes[-1]
    named = [(first[0], networks[0])] if same else list(zip(axes[:, 0], networks, strict=True))
    for energy, network in named:
        energy.set_yticks(range(len(network.layers)), [cost.layer.name for cost in network.layers])
        energy.invert_yaxis()
    most_levels = max((pair[0] for pair in axes), key=lambda energy: len(energy.containers))
    most_levels.legend(fontsize=8, loc="upper right")
    costs = [cost for network in networks for cost in network.layers]
    first[0].set_xlim(0, 1.03 * max(cost.energy_uj for cost in costs))
    first[1].set_xlim(0, 1.15 * max(cost.latency_ms for cost in costs))
    last[0].set_xlabel("energy (uJ)")
    last[1].set_xlabel("latency (ms) and limiting resource")
    return figure


def _draw_energy(axes: "Axes", network: NetworkCost) -> None:
    left = [0.0] * len(network.layers)
    for level, colour in zip(LEVELS, _COLOURS, strict=True):
        widths = [cost.level_fj(level) / 1e9 for cost in network.layers]
        if any(widths):
            axes.barh(range(len(left)), widths, left=left, color=colour, label=_NAMES[level])
        left = [a + b for a, b in zip(left, widths, strict=True)]


def _draw_latency(axes: "Axes", network: NetworkCost) -> None:
    times = [cost.latency_ms for cost in network.layers]
    axes.barh(range(len(times)), times, color=_LATENCY)
    for index, cost in enumerate(network.layers):
        axes.annotate(f" {cost.bound}", (cost.latency_ms, index), va="center", fontsize=7)


def save_figure(figure: "Figure", path: str | Path) -> Path:
    """Save a figure; the suffix of ``path`` sets the format (``.png``, ``.svg``, ``.pdf``)."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)
    return target
