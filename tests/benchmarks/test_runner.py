"""A benchmark that is stopped ends: running cells save their state, no other one starts."""

import sys
import time

import pytest

from benchmarks.runner import Cell, folder_name, run_cells
from benchmarks.stages import Stage

CODE = """
import pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir()
if folder.name == "a":
    while not (folder.parent / "b" / "started").exists():
        time.sleep(0.05)
    sys.exit("a fails")
signal.signal(signal.SIGTERM, lambda *_: ((folder / "saved").touch(), sys.exit(130)))
(folder / "started").touch()
time.sleep(60)
"""


@pytest.fixture
def cell(tmp_path):
    def make(name):
        folder = tmp_path / name
        words = [sys.executable, "-c", CODE, str(folder)]
        stage = Stage("search", lambda: False, lambda: words, tmp_path / f"{name}.log")
        return Cell(folder, (stage,))

    return make


def test_ctrl_c_ends_running_cells_and_starts_no_others(cell, tmp_path):
    failures = []

    def progress(cell, wrong):
        failures.append((cell.folder.name, wrong))
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_cells([cell(name) for name in "abcdefg"], 2, progress)
    assert time.monotonic() - started < 50
    assert failures == [("a", "ended with 1: a fails")]
    assert (tmp_path / "b" / "saved").exists()
    # The worker of `a` may have started one more before the interrupt.
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} <= {"a", "b", "c"}


def test_the_stages_of_a_cell_end_with_the_first_failure(tmp_path):
    def stage(name, code):
        done, log = (tmp_path / name).is_file, tmp_path / "log"
        code = f"import pathlib, sys; pathlib.Path({str(tmp_path / name)!r}).touch(); {code}"
        return Stage(name, done, lambda: [sys.executable, "-c", code], log)

    cell = Cell(tmp_path, (stage("one", ""), stage("two", "sys.exit(1)"), stage("three", "")))
    found = []
    assert run_cells([cell], 1, lambda cell, wrong: found.append(wrong))
    assert found[0].startswith("ended with 1")
    assert not (tmp_path / "three").exists()


def test_names_of_cells_are_names_of_folders():
    assert folder_name("my.module:Agent@file=a/b c") == "my.module-Agent@file=a-b-c"
