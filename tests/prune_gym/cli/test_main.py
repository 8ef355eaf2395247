"""The command itself: help, lists, and the import name that another package owns too."""

import json
import subprocess
import sys

import pytest

from prune_gym.cli import main
from prune_gym.cli.listing import LISTS
from prune_gym.files import sha256
from prune_gym.settings import parse_settings


def test_list(capsys):
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for word in (*LISTS, "PruneResNet20-v0", "resnet56b", "shapes", "l2pf", "eyeriss", "latency"):
        assert word in printed
    assert main(["list", "agents"]) == 0
    assert {"l1", "l2pf", "random", "uniform", "ppo"} <= set(capsys.readouterr().out.split())


@pytest.mark.parametrize("command", ["train", "pretrain", "evaluate", "export", "profile", "list"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


def test_another_package_named_agents_is_noticed(tmp_path):
    """The other package shadows ours: the command says so at its start."""
    (tmp_path / "agents").mkdir()
    (tmp_path / "agents" / "__init__.py").write_text("class Agent: ...\n")
    script = "import sys; from prune_gym.cli import main; sys.exit(main(['list']))"
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert result.returncode == 2
    assert "belongs to another package" in result.stderr
    assert "pip install" in result.stderr


@pytest.mark.float
def test_the_baseline_has_its_recipe(workplace):
    (weights,) = (workplace / "home" / "baselines").glob("*.safetensors")
    recipe = json.loads(weights.with_suffix(".json").read_text())
    assert recipe["sha256"] == sha256(weights)
    assert recipe["validation_accuracy"] > 0.7
    assert recipe["options"]["epochs"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--learning-rate", "1e6", "--epochs", "3", "--overwrite"], "diverged"),
        (["--epochs", "1"], "add --overwrite to replace it"),
        (["--batch-size", "0"], "batch_size=0"),
        (["--epochs", "0"], "epochs=0"),
        (["--out", "weights.json"], "must be the name of a .safetensors file"),
    ],
)
def test_a_failed_pretrain_keeps_the_earlier_baseline(
    workplace, monkeypatch, capsys, change, message
):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
    (weights,) = (workplace / "home" / "baselines").glob("*.safetensors")
    before = weights.read_bytes()
    command = ["pretrain", "--network", "tests.tiny:tiny_network", "--image-size", "8"]
    command += ["--dataset", f"imagefolder:{workplace}/images", "--quiet", "--threads", "1"]
    assert main([*command, *change]) == 2
    assert message in capsys.readouterr().err
    assert weights.read_bytes() == before


def test_numbers_with_exponents_are_numbers():
    pairs = ["a=1e-3", "b=1e9", "c=word", "d=3"]
    assert parse_settings(pairs, "thing", "abcd") == {"a": 1e-3, "b": 10**9, "c": "word", "d": 3}


def test_evaluate_without_a_run(tmp_path, capsys):
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "holds no run" in capsys.readouterr().err
