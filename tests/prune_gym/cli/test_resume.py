"""A run that was killed goes on, and ends as one that was never broken."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest

from prune_gym.cli import main
from tests.prune_gym.cli.test_train import _command

VOLATILE = ("wall_seconds", "device_seconds")


def command(workplace, out, episodes, *more):
    words = _command(workplace, out)
    words[words.index("--episodes") + 1] = str(episodes)
    words[words.index("--final-epochs") + 1] = "0"
    return [*words, "--quiet", *more]


def records(out):
    lines = (out / "episodes.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in VOLATILE} for line in lines]


def same_end(one, other):
    """Episodes, policy and exported weights, bit for bit."""
    assert records(one) == records(other)
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


@pytest.fixture(scope="module")
def unbroken(workplace, home, tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken") / "run"
    assert main(command(workplace, out, 4)) == 0
    return out


def test_killed_and_resumed_is_unbroken(workplace, tmp_path, unbroken):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "prune_gym.cli", *command(workplace, out, 4)]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process:
        state = out / "checkpoint" / "state.json"
        deadline = time.monotonic() + 120
        while not state.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert len(records(out)) in (1, 2, 3)
    assert main(["train", "--resume", str(out), "--quiet"]) == 0
    same_end(unbroken, out)


@pytest.mark.parametrize("left", ["behind the record", "renamed away", "not yet renamed", "none"])
def test_every_moment_of_a_kill_leaves_a_way_on(workplace, tmp_path, unbroken, left):
    out = tmp_path / "run"
    # The search alone, two episodes of it: what is exported after it is taken away again.
    assert main(command(workplace, out, 2)) == 0
    (out / "best" / "report.json").unlink()
    checkpoint = out / "checkpoint"
    if left == "behind the record":
        with (out / "episodes.jsonl").open("a") as file:
            file.write((out / "episodes.jsonl").read_text().splitlines(keepends=True)[-1][:50])
        shutil.copytree(checkpoint, out / "checkpoint.new")
        (out / "checkpoint.new" / "state.json").unlink()
    elif left == "renamed away":
        checkpoint.rename(out / "checkpoint.old")
    elif left == "not yet renamed":
        checkpoint.rename(out / "checkpoint.new")
    else:
        shutil.rmtree(checkpoint)
    assert main(["train", "--resume", str(out), "--episodes", "4", "--quiet"]) == 0
    same_end(unbroken, out)


def test_what_cannot_go_on_says_why(workplace, tmp_path, unbroken, capsys):
    def fails(*words):
        assert main(["train", "--resume", *words]) == 2
        return capsys.readouterr().err

    assert "holds no run" in fails(str(tmp_path))
    assert "is finished" in fails(str(unbroken))
    assert "'agent' cannot be given" in fails(str(unbroken), "--agent", "random")
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    (out / "best" / "report.json").unlink()
    (out / "checkpoint" / "state.json").write_text("{")
    assert "damaged" in fails(str(out))
    config = json.loads((out / "config.json").read_text())
    config["hashes"]["weights"] = "0" * 64
    (out / "config.json").write_text(json.dumps(config))
    assert "started with weights 000" in fails(str(out))
    assert main(["train", "--out", str(tmp_path / "x")]) == 2
    assert "an environment's id is missing" in capsys.readouterr().err
