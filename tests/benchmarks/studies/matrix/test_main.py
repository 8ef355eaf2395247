"""The matrix's plan is of known tasks and agents; the script goes on piece by piece."""

import pytest

import agents
from benchmarks import runner, tasks
from benchmarks.studies.matrix import __main__ as script
from benchmarks.studies.matrix.plan import SCALES, TABLES, Part


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_the_plan_is_of_known_things(scale):
    parts = SCALES[scale]
    assert {part.table for part in parts} == set(TABLES)
    for part in parts:
        assert tasks.find(part.task).needs_data
        for name in part.agents:
            agents.lookup(tasks.variant(name)[0])
    fixed = next(part for part in parts if part.table == "durations").agents
    assert len([name for name in fixed if "fixed_duration" in name]) >= 4
    first = {name for part in parts if part.table == "agents" for name in part.agents}
    assert {"random", "uniform", "l1", "l2pf", "try_and_learn", "amc", "ppo"} <= first


@pytest.fixture
def call(monkeypatch, tmp_path):
    """The script over one task of two cells whose commands are faked by what they leave."""
    ran = []

    def run_cell(task, cell, dataset, device, until=None, stop=None):
        ran.append(cell.folder.name)
        return broken.get(cell.folder.name)

    broken: dict[str, str] = {}
    monkeypatch.setattr(runner, "run_cell", run_cell)
    monkeypatch.setitem(SCALES, "short", (Part("agents", "cifar10-2x", ("l1", "random"), 1),))

    def call(*words, **wrong):
        broken.clear()
        broken.update({name.replace("_", "-"): text for name, text in wrong.items()})
        monkeypatch.setattr(
            "sys.argv", ["matrix", "--dataset", "x", "--out", str(tmp_path), *words]
        )
        return script.main(), ran

    return call


def test_exit_status(call, capsys):
    assert call() == (0, ["l1-0", "random-0"])
    assert call(l1_0="ended with 1: boom")[0] == 1
    assert "cifar10-2x/l1-0: ended with 1: boom" in capsys.readouterr().out
    assert call("--minutes", "1", l1_0=runner.OUT_OF_TIME)[0] == 75
    assert "1 minutes are over" in capsys.readouterr().out


def test_an_unknown_table(call, capsys):
    with pytest.raises(SystemExit):
        call("--tables", "agents,nothing")
    assert "--tables nothing" in capsys.readouterr().err
