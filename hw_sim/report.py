"""Format costs as a text table, CSV or JSON."""

import csv
import io
import json
from typing import Any

from hw_sim.cost import LEVELS, LayerCost, NetworkCost

Row = dict[str, Any]


def row(cost: LayerCost) -> Row:
    """Flatten a layer's cost; keys are the names of :class:`LayerCost` and contain the units."""
    flat: Row = {
        "layer": cost.layer.name,
        "macs": cost.macs,
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "bound": cost.bound,
        "latency_ms": cost.latency_ms,
        "energy_fj": cost.energy_fj,
        "active_pes": cost.active_pes,
        "utilization": cost.utilization,
        "folded": cost.folded,
        "dram_words": cost.dram_words,
        "buffer_words": cost.buffer_words,
    }
    for level, operands in cost.counts.items():
        flat |= {f"{level}_{operand}_count": words for operand, words in operands.items()}
    for level, operands in cost.energy_by_level_fj.items():
        flat |= {f"{level}_{operand}_fj": energy for operand, energy in operands.items()}
    flat["mapping"] = " ".join(
        f"{name}={value}" for name, value in zip(cost.mapping._fields, cost.mapping, strict=True)
    )
    return flat


def to_csv(network: NetworkCost) -> str:
    """Format a network's cost as CSV: a header, then one line per layer."""
    rows = [row(cost) for cost in network.layers]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_json(network: NetworkCost) -> str:
    """Format a network's cost as JSON: accelerator, totals, and all layers."""
    value = {
        "accelerator": network.accelerator.name,
        "fingerprint": network.accelerator.fingerprint,
        "objective": network.objective,
        "cycles": network.cycles,
        "latency_ms": network.latency_ms,
        "energy_fj": network.energy_fj,
        "macs": network.macs,
        "dram_words": network.dram_words,
        "buffer_words": network.buffer_words,
        "layers": [row(cost) for cost in network.layers],
    }
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


_HEADER = ("layer", "MMAC", "cycles", "bound", "PEs", "util", "ms", "uJ", *LEVELS)


def to_table(network: NetworkCost) -> str:
    """Format a network's cost as a text table: one line per layer and a total, energy in uJ."""
    lines: list[tuple[str, ...]] = [_HEADER]
    for cost in network.layers:
        levels = [cost.level_fj(level) for level in LEVELS]
        lines.append(_line(cost.layer.name, cost.bound, str(cost.active_pes), cost, levels))
    totals = [sum(cost.level_fj(level) for cost in network.layers) for level in LEVELS]
    lines.append(_line("total", "", "", network, totals))
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADER))]
    head = (
        f"{network.accelerator.name}, mappings optimised for {network.objective}, "
        f"{network.accelerator.clock_mhz} MHz"
    )
    return "\n".join([head, *(_aligned(line, widths) for line in lines)])


def _line(
    name: str, bound: str, pes: str, cost: LayerCost | NetworkCost, levels: list[int]
) -> tuple[str, ...]:
    return (
        name,
        f"{cost.macs / 1e6:.3f}",
        f"{cost.cycles}",
        bound,
        pes,
        f"{cost.utilization:.0%}" if cost.cycles else "",
        f"{cost.latency_ms:.4f}",
        f"{cost.energy_uj:.2f}",
        *(f"{energy / 1e9:.2f}" for energy in levels),
    )


def _aligned(line: tuple[str, ...], widths: list[int]) -> str:
    """Align text columns left and number columns right."""
    cells = [
        cell.ljust(width) if column in (0, 3) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
