"""Normalisation, grey images and weights of other programs, from the command line."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from prune_gym.cli import main
from prune_gym.data import Normalization, load_dataset
from prune_gym.envs import PruningEnv
from prune_gym.networks import pretrained
from prune_gym.pruning.saved import load_network
from prune_gym.runs import RunConfig
from tests.prune_gym.conftest import NETWORK, SETTINGS, train_command

GREY = "tests.prune_gym.networks.test_network_checks:grey_network"
OWN = Normalization((0.5, 0.4, 0.3), (0.25, 0.5, 0.125))
GIVEN = ["--mean", "0.5,0.4,0.3", "--std=0.25,0.5,0.125"]


@pytest.fixture
def home(workplace, tmp_path, monkeypatch):
    """A cache of its own, without the baseline of the other tests."""
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path / "home"))


def pretrain(workplace, network, *more):
    command = ["pretrain", "--network", network, "--dataset", f"imagefolder:{workplace}/images"]
    command += ["--image-size", "8", "--epochs", "0.2", "--learning-rate", "0.05", "--quiet"]
    return main([*command, "--batch-size", "32", "--threads", "1", *more])


def env_of(workplace, **arguments):
    dataset = f"imagefolder:{workplace}/images"
    return PruningEnv(**{**SETTINGS, "dataset": dataset, "threads": 1, **arguments})


def test_a_baseline_remembers_its_normalisation(workplace, home, tmp_path):
    assert pretrain(workplace, NETWORK, *GIVEN) == 0
    (recipe,) = pretrained.cache_folder().glob("*.json")
    assert json.loads(recipe.read_text())["normalization"] == OWN.to_json()
    assert env_of(workplace).baseline.network.normalize == OWN
    # An argument has precedence, and a file elsewhere is found with its recipe.
    given = {"mean": [0.0] * 3, "std": [1.0] * 3}
    env = env_of(workplace, normalization=given)
    assert env.baseline.network.normalize.to_json() == given
    assert pretrain(workplace, NETWORK, *GIVEN, "--out", str(tmp_path / "x.safetensors")) == 0
    weights = str(tmp_path / "x.safetensors")
    assert env_of(workplace, weights=weights).baseline.network.normalize == OWN
    # The recipe of another file does not count.
    other = Path(shutil.copy(weights, tmp_path / "y.safetensors"))
    text = json.dumps({"sha256": "0", "normalization": OWN.to_json()})
    other.with_suffix(".json").write_text(text)
    default = Normalization.default(3)
    assert env_of(workplace, weights=str(other)).baseline.network.normalize == default


def test_a_run_exports_the_normalisation_of_the_command_line(workplace, home, tmp_path):
    assert pretrain(workplace, NETWORK, *GIVEN) == 0
    out = tmp_path / "run"
    assert main(train_command(workplace, out, "--quiet", *GIVEN)) == 0
    network, _ = load_network(out / "best")
    assert network.normalize == OWN
    program = torch.export.load(out / "best" / "model.pt2")
    assert torch.equal(program.state_dict["mean"].flatten(), torch.tensor(OWN.mean))
    config = RunConfig("PruneResNet20-v0", env_arguments={"normalization": OWN.to_json()})
    assert config.command()[-2:] == ["--mean=0.5,0.4,0.3", "--std=0.25,0.5,0.125"]
    assert config.environment().normalization == OWN


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mean", "0.5,0.5,0.5"], "--mean and --std belong together"),
        (["--mean", "0.5", "--std", "0.5,1"], "mean has 1 values and std 2"),
        (["--mean", "0.5", "--std", "0"], "must be above 0"),
        (["--mean", "0.5", "--std", "0.5"], "3 channels, but the normalization has 1 values"),
    ],
)
@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_wrong_normalisation_is_refused_in_a_line(
    workplace, tmp_path, monkeypatch, capsys, command, words, message
):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
    if command == "train":
        code = main(train_command(workplace, tmp_path / "run", "--quiet", *words))
    else:
        code = pretrain(workplace, NETWORK, "--out", str(tmp_path / "x.safetensors"), *words)
    assert code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_grey_images_from_the_folder_to_the_export(workplace, home, tmp_path, capsys):
    assert pretrain(workplace, GREY, "--image-channels", "1") == 0
    out = tmp_path / "run"
    own = ["--env", f"network={GREY}", "--env", "image_channels=1", "--quiet"]
    assert main(train_command(workplace, out, *own)) == 0
    sample = np.load(out / "best" / "sample.npz")
    assert sample["images"].shape == (64, 1, 8, 8)
    dataset = load_dataset(f"imagefolder:{workplace}/images", image_size=8, image_channels=1)
    assert np.array_equal(sample["images"], dataset.test.images[:64].float().numpy() / 255)
    capsys.readouterr()
    assert pretrain(workplace, NETWORK, "--image-channels", "1") == 2
    assert "shape (3, 8, 8)" in capsys.readouterr().err
    other = ["--env", "network=plain20", "--env", "image_channels=1"]
    assert main(train_command(workplace, tmp_path / "b", *other)) == 2
    assert "--image-size 8 --image-channels 1" in capsys.readouterr().err


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}])
def test_weights_of_torch_are_taken(workplace, home, tmp_path, wrap):
    assert pretrain(workplace, NETWORK, "--out", str(tmp_path / "x.safetensors")) == 0
    expected = env_of(workplace, weights=str(tmp_path / "x.safetensors")).baseline
    torch.save(wrap(expected.module.state_dict()), tmp_path / "own.pth")
    assert env_of(workplace, weights=str(tmp_path / "own.pth")).baseline.weights_hash == (
        expected.weights_hash
    )
    out = tmp_path / "run"
    assert main(train_command(workplace, out, "--weights", str(tmp_path / "own.pth"))) == 0
    again = ["--init", str(tmp_path / "own.pth"), "--out", str(tmp_path / "y.safetensors")]
    assert pretrain(workplace, NETWORK, *again) == 0
