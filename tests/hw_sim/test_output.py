"""Loop nests, tables, CSV, JSON, figures, and the table of all channel counts."""

import csv
import doctest
import io
import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from hw_sim import (
    Accelerator,
    ConvLayer,
    CostTable,
    evaluate_network,
    loop_nest,
    search,
    to_csv,
    to_json,
    to_table,
)
from hw_sim.plot import cost_figure, save_figure
from tests.hw_sim.networks import resnet20

EYERISS = Accelerator.preset("eyeriss")
NETWORK = evaluate_network(resnet20(), EYERISS)


@pytest.mark.parametrize("module", ["hw_sim", "hw_sim.loop_nest", "hw_sim.table"])
def test_examples_in_docstrings(module: str) -> None:
    found = doctest.testmod(import_module(module))
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("accelerator", ["eyeriss", "tpu_like", "nvdla_like"])
def test_loops_of_a_mapping_multiply_to_the_macs(accelerator: str) -> None:
    """If all block sizes divide evenly, the printed loops contain exactly the layer's MACs."""
    layer = ConvLayer("x", 2, 16, 16, 18, 18, (3, 3))
    text = loop_nest(search(layer, Accelerator.preset(accelerator), "energy"))
    turns = [int(line.split("0..")[1].split()[0]) for line in text.splitlines() if "for" in line]
    assert np.prod(turns) == layer.macs


def test_csv_and_json_hold_the_figures() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(NETWORK))))
    assert [int(row["cycles"]) for row in rows] == [cost.cycles for cost in NETWORK.layers]
    fj = [key for key in rows[0] if key.endswith("_fj") and key != "energy_fj"]
    assert all(sum(int(row[key]) for key in fj) == int(row["energy_fj"]) for row in rows)
    value = json.loads(to_json(NETWORK))
    assert value["energy_fj"] == sum(row["energy_fj"] for row in value["layers"])
    assert value["fingerprint"] == EYERISS.fingerprint
    assert to_csv(evaluate_network([], EYERISS)).strip() == ""


def test_table_ends_with_the_total() -> None:
    lines = to_table(NETWORK).splitlines()
    assert len(lines) == 2 + 19 + 1
    total = lines[-1].split()
    assert total[0] == "total"
    assert str(NETWORK.cycles) in total
    assert f"{NETWORK.energy_uj:.2f}" in total


def test_figure_stacks_the_levels_to_the_energy(tmp_path: Path) -> None:
    silicon = evaluate_network(resnet20(), Accelerator.preset("eyeriss_silicon"))
    figure = cost_figure([NETWORK, silicon], ["a", "b"])
    for axes, network in zip(figure.axes[::2], (NETWORK, silicon), strict=True):
        stacks = zip(*axes.containers, strict=True)
        ends = [max(bar.get_x() + bar.get_width() for bar in stack) for stack in stacks]
        assert ends == pytest.approx([cost.energy_uj for cost in network.layers])
    assert save_figure(figure, tmp_path / "new" / "cost.png").stat().st_size > 10_000


def test_figure_names_the_layers_of_networks_of_other_lengths() -> None:
    short = evaluate_network(resnet20()[:3], EYERISS)
    figure = cost_figure([NETWORK, short], ["a", "b"])
    for axes, network in zip(figure.axes[::2], (NETWORK, short), strict=True):
        shown = [label.get_text() for label in axes.get_yticklabels()]
        assert shown == [cost.layer.name for cost in network.layers]
    with pytest.raises(ValueError, match="one label per network"):
        cost_figure([NETWORK], [])


SMALL = [
    ConvLayer("a", 1, 3, 6, 9, 9, (3, 3), padding=1),
    ConvLayer("b", 1, 6, 5, 9, 9, (3, 3), 2, 1),
    ConvLayer("again", 1, 6, 5, 9, 9, (3, 3), 2, 1),
    ConvLayer("depthwise", 1, 5, 5, 5, 5, (3, 3), padding=1, groups=5),
]


@pytest.mark.parametrize("accelerator", ["eyeriss_silicon", "simba_pe"])
@pytest.mark.parametrize("objective", ["latency", "energy"])
def test_cost_table_holds_what_the_search_finds(accelerator: str, objective: str) -> None:
    a = Accelerator.preset(accelerator)
    table = CostTable.build(SMALL, a, objective, threads=2)
    assert len(table) == 3 * 6 + 6 * 5 + 5
    rng = np.random.default_rng(0)
    most = np.array([[layer.in_channels, layer.out_channels] for layer in SMALL])
    channels = rng.integers(1, most + 1, (20, 4, 2))
    channels[:, 3, 1] = channels[:, 3, 0]
    cycles = table.cycles(channels[..., 0], channels[..., 1])
    energy = table.energy_fj(channels[..., 0], channels[..., 1])
    for index in np.ndindex(20, 4):
        c, m = map(int, channels[index])
        layer = SMALL[index[1]]
        groups = c if layer.groups > 1 else 1
        layer = replace(layer, in_channels=c, out_channels=m, groups=groups)
        cost = search(layer, a, objective)
        assert (cycles[index], energy[index]) == (cost.cycles, cost.energy_fj)


def test_cost_table_refuses_what_it_does_not_hold() -> None:
    table = CostTable.build(SMALL, EYERISS)
    full = np.array([[3, 6], [6, 5], [6, 5], [5, 5]]).T
    with pytest.raises(ValueError, match="in_channels=0"):
        table.cycles(full[0] * [1, 0, 1, 1], full[1])
    with pytest.raises(ValueError, match="out_channels=7"):
        table.cycles(full[0], full[1] + [1, 0, 0, 0])
    with pytest.raises(ValueError, match="depthwise"):
        table.cycles(full[0], full[1] - [0, 0, 0, 1])
    with pytest.raises(ValueError, match="one count per layer"):
        table.cycles([1, 2], [1, 2])
    with pytest.raises(ValueError, match="groups=2 cannot be tabulated"):
        CostTable.build([ConvLayer("g", 1, 4, 4, 8, 8, (3, 3), groups=2)], EYERISS)
    with pytest.raises(ValueError, match="Unknown objective"):
        CostTable.build(SMALL, EYERISS, "speed")
