"""Stages run once, stop at the time limit, and keep what their commands printed."""

import sys
import threading
import time

import pytest

from benchmarks.stages import (
    OUT_OF_TIME,
    Stage,
    deadline,
    last_lines,
    run_command,
    run_stage,
)


def python(code):
    return [sys.executable, "-c", code]


def test_status_and_log(tmp_path):
    log = tmp_path / "new" / "log"
    assert run_command(python("print('one'); print('two')"), log) == 0
    assert run_command(python("print('the cause'); raise SystemExit(3)"), log) == 3
    assert last_lines(log, 2) == "two / the cause"


@pytest.fixture
def stage(tmp_path):
    """Makes a stage of some Python code that is done when its result exists."""
    result = tmp_path / "result"

    def make(code):
        code = f"import pathlib; result = pathlib.Path({str(result)!r}); {code}"
        return Stage("part", result.is_file, lambda: python(code), tmp_path / "log")

    return make


def test_a_stage_runs_until_its_result_is_there(stage):
    assert run_stage(stage("print('cause'); raise SystemExit(3)")) == "ended with 3: cause"
    assert run_stage(stage("print('no result')")) == "ended with 0: cause / no result"
    assert run_stage(stage("result.touch()")) is None
    assert run_stage(stage("raise SystemExit('not run again')")) is None


def test_a_stage_without_time_or_output_says_so(stage):
    assert run_stage(stage("result.touch()"), until=time.monotonic()) == OUT_OF_TIME
    assert run_stage(stage("raise SystemExit(4)")).startswith("ended with 4: it printed nothing")


def test_a_command_is_killed_at_the_time_limit(tmp_path):
    log = tmp_path / "log"
    assert deadline(None) is None
    until = deadline(0.5 / 60)
    assert run_command(python("import time; time.sleep(60)"), log, until) is None
    assert time.monotonic() >= until
    assert run_command(python("print('begun')"), log, until) is None
    assert "begun" not in log.read_text()


def test_one_thread_each(tmp_path):
    log = tmp_path / "log"
    run_command(python("import os; print(os.environ['OMP_NUM_THREADS'])"), log)
    assert last_lines(log) == "1"


def test_another_thread_stops_a_command_which_saves_first(tmp_path):
    log, stop = tmp_path / "log", threading.Event()
    code = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))
print("begun", flush=True)
time.sleep(60)
"""

    def set_it():
        while not (log.is_file() and "begun" in log.read_text()):
            time.sleep(0.05)
        stop.set()

    threading.Thread(target=set_it).start()
    assert run_command(python(code), log, stop=stop) is None
    assert last_lines(log) == "begun / saved"
    assert run_command(python("print('again')"), log, stop=stop) is None
    assert "again" not in log.read_text()
