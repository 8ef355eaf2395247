"""The export is tried before the search; what cannot be exported is still saved."""

import json
import shutil

import numpy as np
import pytest

from prune_gym.cli import main
from prune_gym.errors import ExportError, PruneGymError
from prune_gym.pruning.saved import load_network
from prune_gym.runs import Run, RunConfig
from prune_gym.runs.folder import read_report
from tests.prune_gym.conftest import run_config, train_command

NETWORK = "tests.prune_gym.test_export:branching"
SAVED = {"manifest.json", "network.json", "network.png", "report.json", "weights.safetensors"}


@pytest.fixture(scope="module", autouse=True)
def home(workplace):
    """A baseline of a network that cannot be exported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
        command = ["pretrain", "--network", NETWORK, "--dataset", f"imagefolder:{workplace}/images"]
        command += ["--image-size", "8", "--epochs", "2", "--learning-rate", "0.05", "--overwrite"]
        assert main([*command, "--batch-size", "32", "--threads", "1", "--quiet"]) == 0
        yield


@pytest.fixture
def config(workplace, tmp_path):
    """A search of a second; without the fast paths, which need a network that can be traced."""
    given = run_config(workplace, tmp_path / "run", agent="random", agent_options={}).to_json()
    given["env_arguments"] |= {"network": NETWORK, "fast": False}
    return RunConfig.from_json(given)


def names(folder):
    return {path.name for path in (folder / "best").iterdir()}


def test_a_network_that_cannot_be_exported_trains_with_one_warning(config):
    with pytest.warns(UserWarning, match="export") as caught:
        report = Run(config, quiet=True).start()
    (warning,) = [str(each.message) for each in caught if "export" in str(each.message)]
    assert "saved without model.onnx and model.pt2" in warning
    assert "\n" not in warning
    assert report.differences == {}
    assert read_report(config.folder) == report
    assert names(config.folder) == SAVED
    network, kept = load_network(config.folder / "best")
    assert network.spaces[0].channels == len(kept["conv"]) == report.channels["conv"]


def test_it_is_refused_before_the_search_if_the_export_is_required(config, workplace, capsys):
    with pytest.raises(ExportError, match=r"cannot be exported to torch\.export"):
        Run(RunConfig.from_json(config.to_json() | {"require_export": True})).start()
    assert not config.folder.exists()
    command = train_command(workplace, config.folder, "--require-export", "--agent", "random")
    command = [word for word in command if word not in ("candidates=2", "updates=1", "--set")]
    command += ["--env", f"network={NETWORK}", "--env", "fast=false", "--quiet"]
    assert main(command) == 2
    assert not config.folder.exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("prune-gym: The network cannot be exported")


def test_the_option_is_part_of_the_configuration():
    config = RunConfig("PruneResNet20-v0", require_export=True)
    assert "--require-export" in config.command()
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert "--require-export" not in RunConfig("PruneResNet20-v0").command()
    with pytest.raises(PruneGymError, match="require_export=1 must be True or False"):
        RunConfig("PruneResNet20-v0", require_export=1)


def test_an_export_that_fails_at_the_end_loses_nothing(workplace, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise ExportError("The exporter fails.")

    config = run_config(workplace, tmp_path / "run", agent="random", agent_options={})
    run = Run(config, quiet=True)
    monkeypatch.setattr("prune_gym.envs.baseline.Baseline.export_error", None)
    monkeypatch.setattr("prune_gym.export.write_models", fails)
    with pytest.raises(ExportError, match=r"fails\. Weights and report are in '.*best'"):
        run.start()
    assert names(config.folder) == SAVED | {"graph.json"}
    report = read_report(config.folder)
    assert report is not None
    assert report.differences == {}
    network, kept = load_network(config.folder / "best")
    assert {name: len(index) for name, index in kept.items()} == dict(report.channels)
    assert np.isfinite(network.module.head.weight.detach().numpy()).all()


def test_a_final_fine_tune_that_was_killed_is_not_repeated_on_its_result(config):
    with pytest.warns(UserWarning, match="export"):
        Run(config, quiet=True).start()
    weights = config.folder / "best" / "weights.safetensors"
    before = weights.read_bytes()
    for again in (Run.resume, lambda folder, quiet: Run.open(folder, quiet).finish()):
        (config.folder / "best" / "report.json").unlink()
        with pytest.warns(UserWarning, match="export"):
            again(config.folder, quiet=True)
        assert weights.read_bytes() == before
    (config.folder / "best" / "report.json").unlink()
    shutil.rmtree(config.folder / "checkpoint")
    with pytest.raises(PruneGymError, match=r"no checkpoint. Search again with: .*--resume"):
        Run.open(config.folder, quiet=True).finish()
