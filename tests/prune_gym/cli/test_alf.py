"""Runs in the ALF mode: recorded, resumed, evaluated and exported like others."""

import numpy as np
import pytest
import torch

from prune_gym.cli import main
from prune_gym.pruning.saved import load_network
from prune_gym.runs.folder import read_episodes, read_report, read_setup
from prune_gym.runs.recorder import Recorder
from tests.prune_gym.runs.test_resume import observed

NETWORK = "tests.tiny:tiny_residual"
FILES = {
    "graph.json",
    "manifest.json",
    "model.onnx",
    "model.pt2",
    "network.json",
    "network.png",
    "report.json",
    "sample.npz",
    "weights.safetensors",
}


@pytest.fixture(scope="module", autouse=True)
def home(workplace, tmp_path_factory):
    """A home folder of its own, with a baseline of the residual network."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(folder))
        command = ["pretrain", "--network", NETWORK, "--dataset", f"imagefolder:{workplace}/images"]
        command += ["--image-size", "8", "--epochs", "6", "--learning-rate", "0.05"]
        command += ["--batch-size", "32", "--threads", "1", "--quiet", "--test"]
        assert main(command) == 0
        yield folder


def train(workplace, out, agent, episodes, *more):
    settings = {
        "network": NETWORK,
        "image_size": 8,
        "eval_images": 32,
        "repair_images": 32,
        "batch_size": 32,
        "max_epochs": 0.5,
    }
    command = ["train", "PruneResNet20-ALF-v0", "--dataset", f"imagefolder:{workplace}/images"]
    command += ["--out", str(out), "--threads", "1", "--quiet", "--objective", "macs"]
    command += ["--agent", agent, "--episodes", str(episodes), *more]
    for name, value in settings.items():
        command += ["--env", f"{name}={value}"]
    return main(command)


@pytest.fixture(scope="module")
def finished(workplace, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("alf") / "run"
    assert train(workplace, out, "random", 2, "--final-epochs", "0") == 0
    return out


def test_records_hold_actions_and_executed_codes(finished):
    episodes = read_episodes(finished)
    assert len(episodes) == 2
    for episode in episodes:
        names = [step.space for step in episode.steps]
        assert names == ["inner.code", "outer.code", "down.code"]
        for step in episode.steps:
            assert 0 <= step.block.sparsity <= 1
            assert step.duration == pytest.approx(0.1)
            assert step.block.codes == len(step.kept) > 0
            assert step.block.merged in (True, False)
            assert step.block.reconstruction_error >= 0


@pytest.mark.float
def test_the_best_network_is_exported_and_loads(finished):
    assert {path.name for path in (finished / "best").iterdir()} == FILES
    network, kept = load_network(finished / "best")
    assert any(name.endswith(".code") for name in kept)
    sample = np.load(finished / "best" / "sample.npz")
    report = read_report(finished)
    params = sum(p.numel() for p in network.module.parameters())
    assert report.costs.params == params
    assert report.codes
    assert report.codes == {name: len(kept[name]) for name in report.codes}
    from prune_gym.export import Normalized

    with torch.no_grad():
        logits = Normalized(network.module.eval(), network.normalize)(
            torch.from_numpy(sample["images"])
        )
    assert (logits.argmax(1).numpy() == sample["predicted"]).all()


def test_the_best_network_is_evaluated(finished, capsys):
    assert main(["evaluate", str(finished)]) == 0
    printed = capsys.readouterr().out
    assert "inner.code" in printed
    assert f"MACs {read_report(finished).costs.macs:,}" in printed


def test_a_resumed_run_is_an_unbroken_one(workplace, finished, tmp_path, monkeypatch):
    out = tmp_path / "run"
    stop = Recorder.on_checkpoint

    def stopped(self, agent):
        stop(self, agent)
        raise KeyboardInterrupt

    monkeypatch.setattr(Recorder, "on_checkpoint", stopped)
    assert train(workplace, out, "random", 2, "--final-epochs", "0") == 130
    monkeypatch.undo()
    assert len(read_episodes(out)) == 1
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    assert observed(out) == observed(finished)
    weights = [folder / "best" / "weights.safetensors" for folder in (out, finished)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize("agent", ["sac", "ppo"])
def test_other_agents_learn(workplace, tmp_path, agent):
    pytest.importorskip("stable_baselines3")
    out = tmp_path / "run"
    more = ["--set", "warmup_episodes=1"] if agent == "sac" else ["--set", "rollout_episodes=2"]
    more += ["--set", "minibatches=2"] if agent == "ppo" else []
    assert train(workplace, out, agent, 3, "--final-epochs", "0", *more) == 0
    assert len(read_episodes(out)) == 3


@pytest.mark.parametrize("agent", ["l1", "l2pf", "amc", "maskable_ppo"])
def test_agents_that_choose_filters_refuse(workplace, tmp_path, capsys, agent):
    assert train(workplace, tmp_path / "run", agent, 1) != 0
    error = capsys.readouterr().err
    assert "does not work in action_mode='alf'" in error
    assert "random, sac, td3, uniform" in error
    assert not (tmp_path / "run").exists()


def test_a_surrogate_is_refused(workplace, tmp_path, capsys):
    assert train(workplace, tmp_path / "run", "random", 1, "--warm-start", "surrogate") != 0
    assert "only predicts the removal of filters" in capsys.readouterr().err


def test_the_whole_network_agent_turns_the_mode_on(workplace, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    more = ["--set", "epochs=2", "--set", "updates=6", "--final-epochs", "0", "--env", "scope=all"]
    assert train(workplace, out, "alf", 1, "--target", "macs=0.6", *more) == 0
    (episode,) = read_episodes(out)
    assert read_setup(out).target(episode.accuracy, episode.costs).met
    # In an id of filters it asks for its mode by itself, and says so.
    capsys.readouterr()
    other = tmp_path / "other"
    command = ["train", "PruneResNet20-v0", "--agent", "alf", "--out", str(other), "--quiet"]
    command += ["--dataset", f"imagefolder:{workplace}/images", "--env", f"network={NETWORK}"]
    command += ["--env", "image_size=8", "--env", "eval_images=32", "--env", "repair_images=32"]
    command += ["--threads", "1", "--episodes", "1", "--set", "epochs=1", "--final-epochs", "0"]
    assert main(command) == 0
    assert "action_mode=alf" in capsys.readouterr().out
    assert read_setup(other).config.env_arguments["action_mode"] == "alf"


def test_a_budget_of_macs_never_ends_in_a_surrogate(tmp_path, capsys):
    command = ["train", "PruneResNet20-Surrogate-v0", "--agent", "l1", "--search-macs", "1e9"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 2
    assert "spends no MACs" in capsys.readouterr().err
