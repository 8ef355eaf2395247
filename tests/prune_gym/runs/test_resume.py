"""A run that was killed is resumed, and ends like a run that was not interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from prune_gym.cli import main
from prune_gym.errors import PruneGymError, Stopped
from prune_gym.manifest import seal
from prune_gym.runs import Report, Run
from prune_gym.runs.folder import CONFIG, EPISODES, claimed, read_episodes, read_report, read_setup
from prune_gym.runs.recorder import Recorder
from tests.prune_gym.conftest import run_config

KILLED = """
import json, sys
from prune_gym.runs import Run, RunConfig
Run(RunConfig.from_json(json.loads(sys.argv[1])), quiet=True).start()
"""


def observed(out):
    """The episodes without their times."""
    return [replace(episode, wall_seconds=0, device_seconds=0) for episode in read_episodes(out)]


def same_end(one, other):
    """Episodes, policy and exported weights are equal, bit for bit."""
    assert observed(one) == observed(other)
    for folder, pattern in (("policy", "*.safetensors"), ("best", "weights.safetensors")):
        paths = sorted((one / folder).glob(pattern))
        assert paths
        for path in paths:
            assert path.read_bytes() == (other / folder / path.name).read_bytes(), path.name


@pytest.fixture(scope="module", autouse=True)
def home(workplace):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
        yield


@pytest.fixture
def config(workplace, tmp_path):
    return run_config(workplace, tmp_path / "run", episodes=4, final_epochs=0)


@pytest.fixture(scope="module")
def unbroken(workplace, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    Run(run_config(workplace, out, episodes=4, final_epochs=0), quiet=True).start()
    return out


def test_a_run_returns_what_it_wrote(unbroken, config):
    report = read_report(unbroken)
    assert isinstance(report, Report)
    assert report.setup == read_setup(unbroken)
    assert report.search.episodes == len(read_episodes(unbroken)) == 4
    assert report.setup.config.agent_options["candidates"] == 2
    # Recorded in full, whatever the defaults will be.
    assert "learning_rate" in report.setup.config.agent_options
    assert report.setup.config.out is None
    assert Run.open(unbroken).config == replace(report.setup.config, out=str(unbroken))
    assert "test accuracy" in report.summary()


def test_killed_and_resumed_is_unbroken(config, unbroken):
    out = config.folder
    words = [sys.executable, "-c", KILLED, json.dumps(config.to_json())]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(words, env=environment) as process:
        state = out / "checkpoint" / "state.json"
        deadline = time.monotonic() + 120
        while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(read_episodes(out)) in (1, 2, 3)
    report = Run.resume(out, quiet=True)
    same_end(unbroken, out)
    assert report == read_report(out)
    first = read_report(unbroken)
    assert (report.accuracy, report.costs) == (first.accuracy, first.costs)


def test_a_stopped_run_can_be_resumed_or_finished(config, unbroken, tmp_path, monkeypatch):
    write = Recorder.on_checkpoint

    def stopped(self, agent):
        write(self, agent)
        raise KeyboardInterrupt

    run = Run(config, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_checkpoint", stopped)
        with pytest.raises(Stopped, match="finish with prune-gym export"):
            run.start()
    assert len(read_episodes(run.folder)) == 1
    other = tmp_path / "other"
    shutil.copytree(run.folder, other)
    report = run.finish(final_epochs=0.5, seed=3)
    assert (report.final_epochs, report.final_seed) == (0.5, 3)
    assert report.search.episodes == 1
    assert (run.folder / "best" / "model.onnx").is_file()
    with pytest.raises(PruneGymError, match="is finished"):
        run.finish()
    Run.resume(other, quiet=True)
    same_end(unbroken, other)


@pytest.mark.parametrize("left", ["after the record", "renamed away", "not yet renamed", "none"])
def test_every_moment_of_a_kill_can_be_resumed(config, unbroken, left):
    # The search alone, two episodes of it: what is exported after it is taken away again.
    out = config.folder
    Run(replace(config, episodes=2), quiet=True).start()
    (out / "best" / "report.json").unlink()
    checkpoint = out / "checkpoint"
    if left == "after the record":
        with (out / EPISODES).open("a") as file:
            file.write((out / EPISODES).read_text().splitlines(keepends=True)[-1][:50])
        shutil.copytree(checkpoint, out / "checkpoint.new")
        (out / "checkpoint.new" / "manifest.json").unlink()
    elif left == "renamed away":
        checkpoint.rename(out / "checkpoint.old")
    elif left == "not yet renamed":
        checkpoint.rename(out / "checkpoint.new")
    else:
        shutil.rmtree(checkpoint)
    report = Run.resume(out, episodes=4, quiet=True)
    same_end(unbroken, out)
    assert report.setup.config.episodes == read_setup(out).config.episodes == 4


def test_what_cannot_be_resumed_says_why(tmp_path, unbroken, capsys):
    with pytest.raises(PruneGymError, match="holds no run"):
        Run.resume(tmp_path)
    with pytest.raises(PruneGymError, match="is finished"):
        Run.resume(unbroken)
    assert main(["train", "--resume", str(unbroken), "--agent", "random"]) == 2
    assert "own settings, so --agent is not allowed" in capsys.readouterr().err
    assert main(["train", "--out", str(tmp_path / "x")]) == 2
    assert "the id of an environment (or --network) is missing" in capsys.readouterr().err
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    (out / "best" / "report.json").unlink()
    with pytest.raises(PruneGymError, match="final_epochs=-1"):
        Run.resume(out, final_epochs=-1)
    state, policy = out / "checkpoint" / "state.json", out / "policy" / "policy.safetensors"
    before, trained = state.read_text(), policy.read_bytes()
    state.write_text("{")
    with pytest.raises(PruneGymError, match="damaged"):
        Run.resume(out, quiet=True)
    assert policy.read_bytes() == trained
    state.write_text(json.dumps(json.loads(before) | {"random": {}}))
    seal(out / "checkpoint")
    with pytest.raises(PruneGymError, match=r"state.json.*random generator is damaged"):
        Run.resume(out, quiet=True)
    state.write_text(before)
    seal(out / "checkpoint")
    lines = (out / EPISODES).read_text().splitlines(keepends=True)
    (out / EPISODES).write_text("".join(lines[:1] + lines[2:]))
    with pytest.raises(PruneGymError, match="does not hold the 4 episodes"):
        Run.resume(out, quiet=True)
    (out / EPISODES).unlink()
    with pytest.raises(PruneGymError, match="does not hold the 4 episodes"):
        Run.open(out).finish()
    (out / EPISODES).write_text("".join(lines))
    value = json.loads((out / CONFIG).read_text())
    value["hashes"]["weights"] = "0" * 64
    (out / CONFIG).write_text(json.dumps(value))
    with pytest.raises(PruneGymError, match="started with weights 000"):
        Run.resume(out, quiet=True)
    for made in (Run.open(out).finish, Run.open(out).environment):
        with pytest.raises(PruneGymError, match="made with weights 000000000000"):
            made()


def test_bad_input_is_refused_before_anything_is_written(config):
    def fails(message, **change):
        with pytest.raises((PruneGymError, ValueError), match=message):
            Run(replace(config, **change), quiet=True).start()
        assert not config.folder.exists()

    arguments = dict(config.env_arguments)
    fails("Unknown agent 'l3pf'", agent="l3pf")
    fails("Unknown hyperparameter 'candidate'. Did you mean", agent_options={"candidate": 2})
    fails("candidates=1", agent_options={"candidates": 1})
    fails("Did you mean 'tolerance'", env_arguments={**arguments, "tolerence": 2})
    fails("Did you mean 'PruneResNet20-v0'", env_id="PruneResNet21-v0")
    fails("out is missing", out=None)


def test_one_process_at_a_time_in_a_folder(config):
    with claimed(config.folder):
        with pytest.raises(PruneGymError, match="Another process is using"):
            Run(config, quiet=True).start()
        assert [path.name for path in config.folder.iterdir()] == [".lock"]
    with claimed(config.folder):
        pass  # it was released
