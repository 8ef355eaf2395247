"""The main job through the command line, on a network and images of the user's own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from prune_gym.cli import main
from prune_gym.pruning.saved import load_network
from prune_gym.runs.folder import read_episodes, read_report, read_setup
from prune_gym.runs.records import best_so_far
from tests.prune_gym.conftest import NETWORK, train_command

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


@pytest.fixture(scope="module")
def finished(workplace, tmp_path_factory):
    """A finished run; the command runs in a process of its own, as a user's does."""
    out = tmp_path_factory.mktemp("run") / "run"
    command = [sys.executable, "-m", "prune_gym.cli", *train_command(workplace, out)]
    environment = os.environ | {"PRUNE_GYM_HOME": str(workplace / "home")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    return out, result.stdout


def test_the_run_folder_holds_what_the_readme_says(finished):
    out, printed = finished
    assert {path.name for path in (out / "best").iterdir()} == FILES
    assert {"config.json", "episodes.jsonl", "tensorboard", "policy"} <= {
        path.name for path in out.iterdir()
    }
    assert "test accuracy" in printed
    assert "latency" in printed


def test_the_report_is_written_last(train_arguments, tmp_path, monkeypatch):
    from prune_gym.envs import render

    class Killed(BaseException):
        """As a kill would, it passes all handlers."""

    def killed(*_, **__):
        raise Killed

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(render, "picture", killed)
        with pytest.raises(Killed):
            main(train_arguments(out))
    assert not (out / "best" / "report.json").exists()
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    assert {path.name for path in (out / "best").iterdir()} == FILES


def test_records_hold_executed_actions_and_costs(finished):
    out, _ = finished
    setup, episodes = read_setup(out), read_episodes(out)
    assert [episode.number for episode in episodes] == [0, 1]
    assert setup.threads == 1
    assert set(setup.hashes) == {"weights", "dataset", "accelerator"}
    for episode in episodes:
        assert [step.space for step in episode.steps] == ["one", "two"]
        assert all(step.kept for step in episode.steps)
        assert episode.search_macs_total >= episode.search_macs > 0
        assert (episode.accuracy, episode.costs) == (
            episode.steps[-1].accuracy,
            episode.steps[-1].costs,
        )
    assert any(best_so_far(setup, episodes))
    # What follows from these values is not stored.
    line = json.loads((out / "episodes.jsonl").read_text().splitlines()[0])
    assert not {"score", "best", "target_met", "cost_ratio", "reward", "seed"} & set(line)


@pytest.mark.float
def test_the_onnx_file_runs_without_this_package(finished):
    """Only onnxruntime and numpy: the reported classes on the sample images."""
    out, _ = finished
    script = (
        "import sys, numpy as np, onnxruntime\n"
        "sample = np.load(sys.argv[1] + '/sample.npz')\n"
        "session = onnxruntime.InferenceSession(sys.argv[1] + '/model.onnx')\n"
        "logits = session.run(None, {'images': sample['images']})[0]\n"
        "assert (logits.argmax(1) == sample['predicted']).all()\n"
        "assert not {'torch', 'prune_gym'} & set(sys.modules)\n"
        "print((sample['predicted'] == sample['labels']).mean())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(out / "best")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.float
def test_the_saved_network_is_the_reported_one(finished):
    out, _ = finished
    network, _ = load_network(out / "best")
    size = sum(p.numel() for p in network.module.parameters())
    assert size == read_report(out).costs.params
    sample = np.load(out / "best" / "sample.npz")
    from prune_gym.export import Normalized

    with torch.no_grad():
        logits = Normalized(network.module.eval(), network.normalize)(
            torch.from_numpy(sample["images"])
        )
    assert (logits.argmax(1).numpy() == sample["predicted"]).all()
    program = torch.export.load(out / "best" / "model.pt2")
    again = program.module()(torch.from_numpy(sample["images"]))
    assert torch.allclose(again, logits, atol=1e-4)


def test_evaluate_and_export_read_the_run_again(finished, train_arguments, capsys):
    out, _ = finished
    assert main(["evaluate", str(out), "--threads", "1"]) == 0
    assert "whole validation split" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--policy", "--split", "test", "--threads", "1"]) == 0
    assert "whole test split" in capsys.readouterr().out
    before = (out / "best" / "report.json").read_bytes()
    assert main(["export", str(out), "--quiet"]) == 2
    assert "is finished, and its report has used the test split" in capsys.readouterr().err
    assert (out / "best" / "report.json").read_bytes() == before


def test_export_takes_seed_and_epochs_of_the_run_and_no_other_baseline(
    finished, train_arguments, tmp_path, capsys
):
    """A run whose end is missing."""
    again = tmp_path / "run"
    shutil.copytree(finished[0], again)
    (again / "best" / "report.json").unlink()
    path = again / "config.json"
    config = json.loads(path.read_text())
    other = config | {"hashes": config["hashes"] | {"weights": "0" * 64}}
    path.write_text(json.dumps(other))
    for command in ("export", "evaluate"):
        assert main([command, str(again)]) == 2
        assert "was made with weights 000000000000" in capsys.readouterr().err
    path.write_text(json.dumps(config))
    assert main(["export", str(again), "--quiet"]) == 0
    report = read_report(again)
    assert (report.final_seed, report.final_epochs) == (config["config"]["seed"], 1.0)


@pytest.mark.float
def test_same_seed_same_run(train_arguments, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(train_arguments(one)) == 0
    assert main(train_arguments(two)) == 0
    for name in ("best/weights.safetensors", "policy/policy.safetensors"):
        assert (one / name).read_bytes() == (two / name).read_bytes()
    episodes = [
        [replace(episode, wall_seconds=0, device_seconds=0) for episode in read_episodes(run)]
        for run in (one, two)
    ]
    assert episodes[0] == episodes[1]


@pytest.mark.parametrize("agent", ["random", "uniform", "l1"])
def test_controls_run(train_arguments, tmp_path, agent):
    command = [word for word in train_arguments(tmp_path / agent, "--agent", agent)]
    while "--set" in command:
        index = command.index("--set")
        del command[index : index + 2]
    assert main([*command, "--set", "keep=0.5"]) == 0
    assert (tmp_path / agent / "best" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--agent", "l3pf"], "Unknown agent 'l3pf'"),
        (["--set", "candidate=2"], "Unknown hyperparameter 'candidate'. Did you mean"),
        (["--set", "candidates=1"], "candidates=1"),
        (["--set", "candidates"], "must be NAME=VALUE"),
        (["--env", "tolerence=2"], "Unknown environment argument 'tolerence'. Did you mean"),
        (["--objective", "speed"], "Unknown objective 'speed'"),
        (["--dataset", "shpes"], "Unknown data set 'shpes'"),
        (["--dataset", "imagefolder:/nowhere"], "nowhere"),
        (["--env", "network=resnet21"], "Unknown network 'resnet21'"),
        (
            ["--weights", "/nowhere.safetensors"],
            "file '/nowhere.safetensors' does not exist",
        ),
        (["--env", "network=resnet20"], "prune-gym pretrain --network resnet20"),
        (["--episodes", "0"], "episodes=0"),
        (["--final-epochs", "-1"], "final_epochs=-1"),
        (["--device", "abacus"], "device 'abacus'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(
    train_arguments, tmp_path, capsys, change, message
):
    out = tmp_path / "out"
    assert main(train_arguments(out, *change)) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_an_unknown_id_is_refused(capsys, tmp_path):
    assert main(["train", "PruneResNet21-v0", "--out", str(tmp_path / "x")]) == 2
    assert "Did you mean 'PruneResNet20-v0'" in capsys.readouterr().err


def test_damaged_weights_are_refused(train_arguments, tmp_path, capsys):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"not safetensors")
    assert main(train_arguments(tmp_path / "x", "--weights", str(path))) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_folder_with_something_in_it_is_left_alone(train_arguments, tmp_path, capsys):
    precious = tmp_path / "out" / "precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    assert main(train_arguments(precious.parent)) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(train_arguments(precious.parent, "--overwrite")) == 2
    assert "holds no run" in capsys.readouterr().err
    (precious.parent / "config.json").write_text('{"model_type": "bert"}')
    assert main(train_arguments(precious.parent, "--overwrite")) == 2
    assert precious.read_text() == "mine"


@pytest.mark.parametrize(
    "change",
    [["--final-epochs", "inf"], ["--seed", "-1"], ["--env", "min_keep=2.5"], ["--minutes", "nan"]],
)
def test_overwrite_with_bad_input_keeps_the_earlier_run(train_arguments, tmp_path, change):
    out = tmp_path / "run"
    assert main(train_arguments(out)) == 0
    before = (out / "best" / "weights.safetensors").read_bytes()
    assert main(train_arguments(out, "--overwrite", *change)) != 0
    assert (out / "best" / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_usable_run(workplace, tmp_path, number):
    """An interrupt after the first episode: the best network is there and can be exported."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "prune_gym.cli", *train_command(workplace, out)]
    command[command.index("--episodes") + 1] = "100000"
    environment = os.environ | {"PRUNE_GYM_HOME": str(workplace / "home")}
    process = subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # Where the tests run as a shell's background job, or under nohup, it is ignored, and
        # children inherit that.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    # The episode's line is written after its network.
    while not (out / "episodes.jsonl").is_file():
        assert time.monotonic() < deadline, "no episode ended"
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "prune-gym export" in errors
    assert any((out / "policy").iterdir())
    for line in (out / "episodes.jsonl").read_text().splitlines():
        json.loads(line)
    export = [sys.executable, "-m", "prune_gym.cli", "export", str(out), "--quiet"]
    export += ["--trust", NETWORK]
    result = subprocess.run(export, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (out / "best").iterdir()} == FILES
