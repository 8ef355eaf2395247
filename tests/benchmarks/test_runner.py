"""A benchmark that is stopped ends: what is under way saves itself, what is left is not begun."""

import sys
import time

import pytest

from benchmarks import runner
from benchmarks.tasks import TASKS

STAND_IN = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
folder.mkdir()
if folder.name == "a-0":
    while not (folder.parent / "b-0" / "begun").exists():
        time.sleep(0.05)
    sys.exit("a fails")
signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").touch(), sys.exit(130)))
(folder / "begun").touch()
time.sleep(60)
"""


def test_ctrl_c_ends_cells_under_way_and_begins_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "CLI", (sys.executable, "-c", STAND_IN))
    failures = []

    def progress(cell, wrong):
        failures.append((cell.folder.name, wrong))
        raise KeyboardInterrupt

    todo, started = runner.cells(tmp_path, list("abcdefg"), 1), time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        runner.run(TASKS["smoke"], todo, workers=2, progress=progress)
    assert time.monotonic() - started < 50
    assert failures == [("a-0", "ended with 1: a fails")]
    assert (tmp_path / "b-0" / "saved").exists()
    # The worker that a-0 left may have taken one more before the interrupt.
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} <= {"a-0", "b-0", "c-0"}
