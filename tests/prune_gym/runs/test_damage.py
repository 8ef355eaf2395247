"""Damaged files of a run: each reader names the file, and takes nothing that is damaged."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from prune_gym import files
from prune_gym.cli import main
from prune_gym.data import store
from prune_gym.errors import PruneGymError, Stopped, WriteError
from prune_gym.files import write_atomically
from prune_gym.runs import Run
from prune_gym.runs.folder import claimed
from prune_gym.runs.recorder import Recorder
from tests.prune_gym.conftest import NETWORK, run_config, train_command


@pytest.fixture(scope="module", autouse=True)
def home(workplace):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
        yield


@pytest.fixture(scope="module")
def stopped(workplace, home, tmp_path_factory):
    """A run that was stopped after its second episode."""
    out, write = tmp_path_factory.mktemp("stopped") / "run", Recorder.on_checkpoint

    def stop(self, agent):
        write(self, agent)
        if self._episodes == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recorder, "on_checkpoint", stop)
        with suppress(Stopped):
            Run(run_config(workplace, out, episodes=3, final_epochs=0), quiet=True).start()
    return out


@pytest.fixture(scope="module")
def finished(stopped, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    shutil.copytree(stopped, out)
    Run.resume(out, quiet=True)
    return out


def flipped(path):
    """A bit in the middle of a file is another one."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "not UTF-8": lambda path: path.write_bytes(b"\xff\xfe" + path.read_bytes()),
    "another kind": lambda path: path.write_text("[1, 2]\n"),
    "nested": lambda path: path.write_text("[" * 100_000),
    "NaN": lambda path: path.write_text('{"schema": NaN}\n'),
    "flipped": flipped,
    "gone": lambda path: path.unlink(),
}
READERS = {
    "resume": lambda out: ["train", "--resume", str(out), "--quiet"],
    "export": lambda out: ["export", str(out), "--quiet"],
    "evaluate": lambda out: ["evaluate", str(out)],
    "policy": lambda out: ["evaluate", str(out), "--policy"],
    "report": lambda out: ["report", str(out), "-o", str(out.parent / "page")],
}
READS = {
    "config.json": ("resume", "export", "evaluate", "policy", "report"),
    "episodes.jsonl": ("resume", "export", "report"),
    "checkpoint/state.json": ("resume", "export"),
    "checkpoint/agent/policy.safetensors": ("resume", "export"),
    "checkpoint/best/weights.safetensors": ("resume", "export"),
    "checkpoint/best/network.json": ("resume", "export"),
    "best/weights.safetensors": ("export", "evaluate", "report"),
    "best/network.json": ("export", "evaluate", "report"),
    "best/model.onnx": ("report",),
    "best/report.json": ("report",),
    "policy/policy.safetensors": ("policy",),
}
"""What must find the damage of a file."""
FOUND_BY_SCHEMA = {"config.json", "best/report.json", "episodes.jsonl"}
"""Files without a checksum of every bit, or whose loss cannot be told from another state."""


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READS)
def test_damage_is_found_and_named(name, damage, stopped, finished, tmp_path, capsys):
    tried = 0
    for reader in READS[name]:
        if damage in ("flipped", "gone") and name in FOUND_BY_SCHEMA:
            continue
        if reader == "report" and damage == "gone":
            continue  # a copy may lack the models
        out = tmp_path / reader / "run"
        shutil.copytree(finished if reader == "report" else stopped, out)
        DAMAGES[damage](out / name)
        before = {path: path.read_bytes() for path in out.rglob("*.safetensors")}
        assert main(READERS[reader](out)) == 2, (reader, capsys.readouterr())
        error = capsys.readouterr().err
        assert Path(name).name in error or Path(name).parent.name in error, (reader, error)
        assert len(error.splitlines()) == 1
        assert len(error) < 700
        after = {path: path.read_bytes() for path in out.rglob("*.safetensors")}
        assert before == after, "nothing was lost"
        tried += 1
    assert tried or damage in ("flipped", "gone")


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: lines[:1],
        lambda lines: [],
        lambda lines: [*lines, lines[-1]],
        lambda lines: [lines[0], *lines],
        lambda lines: [lines[0], lines[1].replace('"complete": true', '"complete": false')],
    ],
    ids=["shorter", "none", "doubled", "doubled first", "edited"],
)
@pytest.mark.parametrize("reader", ["resume", "export"])
def test_a_record_cannot_shrink_or_change(stopped, tmp_path, capsys, edit, reader):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    path = out / "episodes.jsonl"
    path.write_text("".join(edit(path.read_text().splitlines(keepends=True))))
    assert main(READERS[reader](out)) == 2
    error = capsys.readouterr().err
    assert "episodes.jsonl" in error
    assert "--network RUN/best" in error, "the error says what can be saved"


def test_what_a_killed_process_left_is_removed(stopped, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    for place in (out, out / "best", out / "checkpoint"):
        (place / ".prune-gym-weights-abc.safetensors").write_text("half")
    with claimed(out):
        pass
    assert not list(out.rglob(".prune-gym-*"))


def test_they_do_not_stop_an_overwrite(stopped, tmp_path, workplace):
    out = tmp_path / "run"
    shutil.copytree(stopped, out)
    (out / ".prune-gym-config-abc.json").write_text("half")
    config = run_config(workplace, out, episodes=1, final_epochs=0)
    Run(config, quiet=True).start(overwrite=True)
    assert not list(out.rglob(".prune-gym-*"))


def test_two_homes_do_not_share_a_run(stopped, tmp_path, workplace):
    out, other = tmp_path / "run", tmp_path / "home"
    shutil.copytree(stopped, out)
    shutil.copytree(workplace / "home", other)
    words = [sys.executable, "-m", "prune_gym.cli", "train", "--resume", str(out), "--quiet"]
    with claimed(out):
        done = subprocess.run(
            [*words, "--trust", NETWORK],
            env=os.environ | {"PRUNE_GYM_HOME": str(other)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "Another process is using" in done.stderr


def test_folders_that_cannot_be_made_are_named(tmp_path, workplace, capsys):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for out in (tmp_path / "file" / "run", tmp_path / "link", tmp_path / "file"):
        assert main([*train_command(workplace, out), "--quiet"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert str(out.name) in line


class Full:
    """A disk on which nothing is free."""

    free = 0


def test_a_full_disk_names_the_file(tmp_path, monkeypatch):
    def broken(path):
        path.write_text("half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/0")

    with pytest.raises(RuntimeError):  # an error of its own stays what it is
        write_atomically(tmp_path / "model.pt2", broken)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: Full)
    with pytest.raises(WriteError, match=r"model.pt2' cannot be written: there is no space left"):
        write_atomically(tmp_path / "model.pt2", broken)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 16 MiB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(words, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_cache_is_an_error_and_kills_nothing(small_disk, monkeypatch):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(small_disk))
    labels = np.zeros(10_000, np.int64)
    contents = store.Contents(labels, (8_000, 1_000, 1_000), ("a", "b"), (3, 32, 32))
    with pytest.raises(PruneGymError, match="No space left on device"):
        store.write("x", "x", "x", contents, lambda pixels: pixels.fill(1))
    assert not list(small_disk.rglob("*.npy"))


STAGES = {
    "start": "prune_gym.runs.folder.clear",
    "episode": "prune_gym.runs.recorder.append_episode",
    "checkpoint": "prune_gym.runs.checkpoint.write",
    "policy": "prune_gym.runs.folder.save_policy",
    "export": "prune_gym.export.save_network",
    "models": "prune_gym.export.write_models",
    "picture": "prune_gym.envs.render.picture",
    "report": "prune_gym.runs.folder.write_report",
}
"""What a run does first after its disk is full."""


@pytest.mark.parametrize("stage", STAGES)
def test_a_full_disk_at_each_stage_of_a_run(stage, small_disk, workplace, capsys, monkeypatch):
    """The run ends with one line that names a file, and can be continued when there is space."""
    out, filler = small_disk / "run", small_disk / "filler"
    module, _, name = STAGES[stage].rpartition(".")
    stage_of_run = getattr(importlib.import_module(module), name)

    def on_a_full_disk(*arguments, **more):
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        return stage_of_run(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(STAGES[stage], on_a_full_disk)
        assert main([*train_command(workplace, out), "--quiet"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "space left" in lines[-1]
    assert str(out) in lines[-1]
    filler.unlink()
    again = ["train", "--resume", str(out), "--quiet"]
    if stage == "start":
        again = [*train_command(workplace, out), "--quiet"]
    assert main(again) == 0
    assert json.loads((out / "best" / "report.json").read_text())["schema"] == 3


@pytest.fixture
def joined_threads():
    """Threads that a test starts end within it, so that no other test is blamed for them."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.usefixtures("joined_threads")
def test_a_folder_that_is_deleted_under_way_is_named(tmp_path, workplace, capsys, monkeypatch):
    out, write = tmp_path / "run", Recorder.on_episode

    def deleted(self, *arguments):
        shutil.rmtree(out)
        write(self, *arguments)

    monkeypatch.setattr(Recorder, "on_episode", deleted)
    assert main([*train_command(workplace, out), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert str(out) in error
    assert "cannot be written" in error


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path, workplace, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert main([*train_command(workplace, tmp_path / "locked" / "run"), "--quiet"]) == 2
    assert "locked" in capsys.readouterr().err
