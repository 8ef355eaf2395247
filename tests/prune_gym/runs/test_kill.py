"""A run that is killed at any of its file operations is resumed and ends with the same bits."""

import json
import os
import signal
import subprocess
import sys

import pytest

from prune_gym.runs import Run
from tests.prune_gym.conftest import NETWORK, run_config
from tests.prune_gym.runs.test_resume import same_end

KILLED = """
import json, os, signal, sys

left = int(sys.argv[2])
count = 0

def follow(event, arguments):
    '''Kill this process at a file operation within the run's folder, after the start.'''
    global count
    if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & 3):
        return
    if not str(arguments[0]).startswith(folder):
        return
    count += 1
    if count == left:
        os.kill(os.getpid(), signal.SIGKILL)

from prune_gym.runs import Run, RunConfig
config = RunConfig.from_json(json.loads(sys.argv[1]))
folder = str(config.folder)
sys.addaudithook(follow)
Run(config, quiet=True).start()
print(count)
"""
KILLS = 36


def words(config, left):
    return [sys.executable, "-c", KILLED, json.dumps(config.to_json()), str(left)]


@pytest.mark.slow
def test_a_run_can_be_killed_at_any_file_operation(workplace, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    whole = run_config(workplace, tmp_path / "whole", episodes=3, final_epochs=0.2)
    done = subprocess.run(
        words(whole, -1), env=environment, capture_output=True, text=True, check=True
    )
    operations = int(done.stdout.split()[-1])
    assert operations > KILLS
    for number in range(KILLS):
        left = 1 + number * (operations - 1) // (KILLS - 1)
        config = run_config(workplace, tmp_path / f"at-{left}", episodes=3, final_epochs=0.2)
        killed = subprocess.run(
            words(config, left), env=environment, capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, left
        if not (config.folder / "config.json").is_file():
            Run(config, quiet=True).start()  # nothing of the run was there
        elif not (config.folder / "best" / "report.json").is_file():
            Run.resume(config.folder, quiet=True, trust=[NETWORK])
        same_end(whole.folder, config.folder)
        assert not list(config.folder.rglob(".prune-gym-*")) or left == operations
