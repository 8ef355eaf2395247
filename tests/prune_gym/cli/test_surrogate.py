"""Record, fit, warm start: the commands one after the other, on a tiny network and images."""

import json

import pytest

from prune_gym.cli import main
from prune_gym.runs.folder import read_episodes, read_report, read_setup
from prune_gym.runs.recording import POLICIES
from prune_gym.surrogate.records import read
from tests.prune_gym.conftest import NETWORK

EPISODES = 10


@pytest.fixture
def record_arguments(workplace, monkeypatch):
    """Makes the arguments of a short recording."""
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))

    def make(out, *more):
        settings = {
            "network": NETWORK,
            "image_size": 8,
            "eval_images": 32,
            "repair_images": 32,
            "batch_size": 32,
            "max_epochs": 0.5,
        }
        command = ["record", "PruneResNet20-v0", "--dataset", f"imagefolder:{workplace}/images"]
        command += ["--out", str(out), "--threads", "1", "--quiet", "--episodes", str(EPISODES)]
        for name, value in settings.items():
            command += ["--env", f"{name}={value}"]
        return command + list(more)

    return make


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("surrogate")


@pytest.fixture
def recorded(record_arguments, folder):
    """A file of records, made once."""
    path = folder / "records.jsonl"
    if not path.exists():
        assert main(record_arguments(path)) == 0
    return path


@pytest.fixture
def fitted(recorded, workplace, capsys):
    """What fitting to them printed; the surrogate lies in the home folder."""
    printed = recorded.with_suffix(".txt")
    if not printed.exists():
        capsys.readouterr()
        assert main(["fit-surrogate", str(recorded)]) == 0
        printed.write_text(capsys.readouterr().out)
    return printed.read_text(), workplace / "home" / "surrogates"


def test_policies_take_turns(recorded):
    records = read(recorded)
    assert [episode.policy for episode in records.episodes] == 2 * list(POLICIES)
    assert records.header["conditions"]["network"] == NETWORK
    assert all(len(episode.steps) == 2 for episode in records.episodes)


def test_a_stopped_recording_goes_on_as_if_it_had_not(record_arguments, recorded, tmp_path, capsys):
    whole = recorded.read_bytes()
    path = tmp_path / "records.jsonl"
    # A kill in the middle of the seventh line.
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]) + lines[6][:30])
    assert main(record_arguments(path)) == 0
    assert path.read_bytes() == whole
    assert main(record_arguments(path)) == 0
    assert path.read_bytes() == whole
    assert main(record_arguments(path, "--seed", "1")) == 2
    assert "another recording (seed differs)" in capsys.readouterr().err
    assert path.read_bytes() == whole


def test_a_file_of_something_else_is_left_alone(record_arguments, tmp_path, capsys):
    path = tmp_path / "notes.txt"
    path.write_text("my notes\nand more")
    assert main(record_arguments(path)) == 2
    assert "damaged" in capsys.readouterr().err
    assert path.read_text() == "my notes\nand more"


@pytest.mark.parametrize(
    ("more", "match"),
    [
        (["--agents", "l2p"], "Did you mean 'l2pf'"),
        (["--agents", ","], "names no agent"),
        (["--episodes", "0"], "at least 1"),
    ],
)
def test_bad_recordings_are_refused(record_arguments, tmp_path, capsys, more, match):
    path = tmp_path / "none.jsonl"
    assert main(record_arguments(path, *more)) == 2
    assert match in capsys.readouterr().err
    assert not path.exists()


def test_fitting_tells_tau_and_error(fitted):
    printed, home = fitted
    for word in ("tau", "held-out episodes", "held-out policies", "without l2pf"):
        assert word in printed
    (weights,) = home.glob("*.safetensors")
    facts = json.loads(weights.with_suffix(".json").read_text())
    assert facts["records"]["episodes"] == EPISODES
    assert weights.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_bad_fits_are_refused(recorded, tmp_path, capsys):
    assert main(["fit-surrogate", str(recorded), "--out", "x.pkl"]) == 2
    assert "safetensors" in capsys.readouterr().err
    assert main(["fit-surrogate", str(tmp_path / "none")]) == 2
    assert "prune-gym record" in capsys.readouterr().err


def test_a_warm_start_goes_on_in_the_real_environment(fitted, train_arguments, tmp_path, capsys):
    out = tmp_path / "run"
    warm = ["--warm-start", "surrogate", "--warm-start-episodes", "3"]
    assert main(train_arguments(out, *warm)) == 0
    setup = read_setup(out)
    assert setup.config.warm_start == 3
    (weights,) = fitted[1].glob("*.safetensors")
    facts = json.loads(weights.with_suffix(".json").read_text())
    assert setup.surrogate == facts["sha256"]
    episodes = read_episodes(out)
    # Only real episodes are recorded, and only they can be the best.
    assert len(episodes) == 2
    assert all(episode.search_macs > 0 for episode in episodes)
    assert (out / "best" / "model.onnx").is_file()
    assert read_report(out).setup == setup
    cold = tmp_path / "cold"
    assert main(train_arguments(cold)) == 0
    policies = [(path / "policy" / "policy.safetensors").read_bytes() for path in (out, cold)]
    assert policies[0] != policies[1]


def test_bad_warm_starts_are_refused(fitted, train_arguments, tmp_path, capsys):
    out = tmp_path / "run"
    warm = ["--warm-start", "surrogate"]
    assert main(train_arguments(out, *warm, "--env", "recovery=bn")) == 2
    assert "prune-gym fit-surrogate" in capsys.readouterr().err
    assert main(train_arguments(out, *warm, "--warm-start-episodes", "0")) == 2
    assert "at least 1" in capsys.readouterr().err
    command = train_arguments(out)
    command[1] = "PruneResNet20-Surrogate-v0"
    assert main(command) == 2
    assert "--warm-start surrogate" in capsys.readouterr().err
    assert not out.exists()
