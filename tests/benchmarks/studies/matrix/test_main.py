"""The plan names known tasks and agents; the script runs it and reports by its exit status."""

import pytest

import agents
from benchmarks import runner, tasks
from benchmarks.stages import OUT_OF_TIME
from benchmarks.studies.matrix import __main__ as script
from benchmarks.studies.matrix.plan import SCALES, TABLES, Comparison


@pytest.mark.parametrize("scale", sorted(SCALES))
def test_the_plan_is_of_known_things(scale):
    comparisons = SCALES[scale]
    assert {each.table for each in comparisons} == set(TABLES)
    for each in comparisons:
        assert tasks.find(each.task).needs_data
        for name in each.agents:
            agents.lookup(tasks.variant(name)[0])
    fixed = next(each for each in comparisons if each.table == "durations").agents
    assert len([name for name in fixed if "fixed_duration" in name]) >= 4
    first = {name for each in comparisons if each.table == "agents" for name in each.agents}
    assert {"random", "uniform", "l1", "l2pf", "try_and_learn", "amc", "ppo"} <= first


@pytest.fixture
def call(monkeypatch, tmp_path):
    """The script over one task of two cells, of which those named fail."""

    def call(*words, **wrong):
        def run_stage(stage, until, stop):
            ran.append(stage.log.stem)
            return wrong.get(stage.log.stem.replace("-", "_"))

        ran = []
        monkeypatch.setattr(runner, "run_stage", run_stage)
        arguments = ["matrix", "--dataset", "x", "--out", str(tmp_path), *words]
        monkeypatch.setattr("sys.argv", arguments)
        return script.main(), sorted(set(ran))

    monkeypatch.setitem(SCALES, "short", (Comparison("agents", "cifar10-2x", ("l1", "random"), 1),))
    return call


def test_exit_status(call, capsys):
    assert call() == (0, ["l1-0", "random-0"])
    assert call(l1_0="ended with 1: boom")[0] == 1
    assert "cifar10-2x/l1-0: ended with 1: boom" in capsys.readouterr().out
    assert call("--minutes", "1", l1_0=OUT_OF_TIME)[0] == 75
    assert "1 minutes are over" in capsys.readouterr().out


def test_an_unknown_table(call, capsys):
    with pytest.raises(SystemExit):
        call("--tables", "agents,nothing")
    assert "--tables nothing" in capsys.readouterr().err
