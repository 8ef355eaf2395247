"""Commands are stopped when the time is over, and what they printed is kept."""

import sys
import threading
import time

from benchmarks.pieces import carry_out, deadline, last_lines


def python(code):
    return [sys.executable, "-c", code]


def test_status_and_log(tmp_path):
    log = tmp_path / "new" / "log"
    assert carry_out(python("print('one'); print('two')"), log) == 0
    assert carry_out(python("print('the cause'); raise SystemExit(3)"), log) == 3
    assert last_lines(log, 2) == "two / the cause"


def test_the_time_over(tmp_path):
    log = tmp_path / "log"
    assert deadline(None) is None
    until = deadline(0.5 / 60)
    assert carry_out(python("import time; time.sleep(60)"), log, until) is None
    assert time.monotonic() >= until
    assert carry_out(python("print('begun')"), log, until) is None
    assert "begun" not in log.read_text()


def test_one_thread_each(tmp_path):
    log = tmp_path / "log"
    carry_out(python("import os; print(os.environ['OMP_NUM_THREADS'])"), log)
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
    assert carry_out(python(code), log, stop=stop) is None
    assert last_lines(log) == "begun / saved"
    assert carry_out(python("print('again')"), log, stop=stop) is None
    assert "again" not in log.read_text()
