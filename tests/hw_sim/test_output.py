"""Loop nests, tables, CSV, JSON and figures."""

import csv
import doctest
import io
import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from hw_sim import (
    Accelerator,
    ConvLayer,
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


@pytest.mark.parametrize("module", ["hw_sim", "hw_sim.loop_nest"])
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
