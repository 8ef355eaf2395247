"""``prune-gym profile`` of an architecture, of a pruned network, and with invalid input."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from hw_sim import Accelerator, evaluate_network
from prune_gym.cli import profile
from prune_gym.pruning.saved import cut_to, save_network
from tests.hw_sim.networks import resnet20
from tests.tiny import tiny_network


def profiled(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    profile.add_parser(parser.add_subparsers())
    return profile.run(parser.parse_args(["profile", *arguments]))


@pytest.fixture
def pruned(tmp_path: Path) -> Path:
    """Folder of a run with the tiny network, pruned to 2 and 3 channels."""
    kept = {"one": np.array([0, 4]), "two": np.array([1, 2, 3])}
    save_network(tmp_path / "best", cut_to(tiny_network(), kept), kept)
    return tmp_path


def test_architecture(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    figure = tmp_path / "cost.svg"
    assert profiled("resnet20", "--accelerator", "eyeriss_ideal", "--plot", str(figure)) == 0
    lines = capsys.readouterr().out.splitlines()
    convolutions = evaluate_network(resnet20(), Accelerator.preset("eyeriss_ideal"))
    shown = [int(line.split()[2]) for line in lines[3:-2]]
    assert shown == [cost.cycles for cost in convolutions.layers]
    assert lines[-1].split()[0] == "total"
    assert "<svg" in figure.read_text()


def test_pruned_folder_has_the_pruned_channels(pruned: Path, capsys: pytest.CaptureFixture) -> None:
    assert profiled(str(pruned), "--format", "json") == 0
    layers = {layer["layer"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["first"]["macs"] == 8 * 8 * 2 * 3 * 9
    assert layers["depthwise"]["macs"] == 4 * 4 * 2 * 9
    assert layers["head"]["macs"] == 4 * 4 * 3 * 4


def test_layers_that_alf_took_apart_cost_as_two(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    codes = {"first.code": np.array([0, 2])}
    save_network(tmp_path, cut_to(tiny_network(), codes), codes)
    figure = tmp_path / "cost.svg"
    words = ["tests.tiny:tiny_network", str(tmp_path), "--image-size", "8", "--num-classes", "4"]
    assert profiled(*words, "--plot", str(figure)) == 0
    assert "<svg" in figure.read_text()
    capsys.readouterr()
    assert profiled(str(tmp_path), "--format", "json") == 0
    layers = {layer["layer"]: layer for layer in json.loads(capsys.readouterr().out)["layers"]}
    assert layers["first.0"]["macs"] == 8 * 8 * 2 * 3 * 9
    assert layers["first.1"]["macs"] == 8 * 8 * 6 * 2
    assert "first" not in layers


def test_comparison_shows_the_ratio_of_each_layer(
    pruned: Path, capsys: pytest.CaptureFixture
) -> None:
    assert profiled("tests.tiny:tiny_network", str(pruned / "best"), "--image-size", "8") == 0
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("second / first"))
    ratios = {line.split()[0]: float(line.split()[1]) for line in lines[start + 1 :]}
    assert ratios["first"] == pytest.approx(2 / 6, abs=1e-3)
    assert ratios["second"] == pytest.approx(2 * 3 / (6 * 5), abs=1e-3)
    assert ratios["total"] < 0.5


def test_own_accelerator_file_and_loops(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    preset = Path(profile.__file__).parents[2] / "hw_sim" / "presets" / "simba_pe.yaml"
    file = tmp_path / "mine.yaml"
    file.write_text(preset.read_text().replace("name: simba_pe", "name: mine"))
    arguments = ("--accelerator", str(file), "--objective", "energy", "--loops")
    assert profiled("tests.tiny:tiny_network", *arguments) == 0
    out = capsys.readouterr().out
    assert "mine, mappings optimised for energy" in out
    assert "first on mine: SystolicMapping(" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet21",), "'resnet21'"),
        (("resnet20", "--accelerator", "eyerix"), "'eyerix'"),
        (("resnet20", "--objective", "speed"), "'speed'"),
        (("resnet20", "--batch", "0"), "batch=0"),
        (("resnet20", "--image-size", "0"), "image_size=0"),
        (("resnet20", "plain20", "--format", "csv"), "takes one network"),
    ],
)
def test_wrong_input_is_named(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        profiled(*arguments)
