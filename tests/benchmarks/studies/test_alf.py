"""ALF's runs continue after an interruption; the committed record is what the docs print."""

import itertools
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.stages import Stage
from benchmarks.studies import alf
from benchmarks.studies.alf import __main__
from benchmarks.studies.alf.stages import Setting, stages
from benchmarks.studies.alf.table import markdown
from prune_gym.runs.config import RunConfig

ROOT = Path(alf.__file__).parents[3]
RECORDS = ROOT / "benchmarks" / "data"


@pytest.fixture
def setting(tmp_path):
    return Setting("resnet20", "shapes", tmp_path, 0, "cpu", 1, 12.0, 1.0, 0.5, False, 50)


def test_all_networks_get_equal_training(setting):
    found = {stage.name: stage for stage in stages(setting)}
    assert list(found) == ["baseline", "alf", "scratch", "l1", "l2pf"]
    assert found["baseline"].done(), "it ships with the package"
    assert not any(found[name].done() for name in ("alf", "scratch", "l1", "l2pf"))
    alf = setting.run("alf")
    assert alf.agent_options["epochs"] + alf.final_epochs == 1.5
    assert "--epochs 1.5" in " ".join(found["scratch"].command())
    for agent in ("l1", "l2pf"):
        run = setting.run(agent)
        assert run.final_epochs == 1.5
        assert run.env_arguments["target"] == {"macs": 0.39}


def test_stages_run_the_configurations(setting):
    found = {stage.name: stage for stage in stages(setting)}
    for agent in ("alf", "l1", "l2pf"):
        *_, text = found[agent].command()
        assert RunConfig.from_json(json.loads(text)) == replace(
            setting.run(agent), out=str(setting.path(agent))
        )
        report = setting.path(agent) / "best" / "report.json"
        report.parent.mkdir(parents=True)
        report.touch()
        assert found[agent].done()


@pytest.fixture
def script(monkeypatch, tmp_path):
    """The script with one stage that runs some code."""

    def run(code, *words):
        own = [Stage("part", lambda: False, lambda: [sys.executable, "-c", code], tmp_path / "log")]
        monkeypatch.setattr(__main__, "stages", lambda setting: own)
        monkeypatch.setattr("sys.argv", ["alf", "--out", str(tmp_path), *words])
        return __main__.main()

    return run


def test_failures_show_what_was_printed(script):
    with pytest.raises(RuntimeError, match="part ended with 3: the cause"):
        script("print('the cause'); raise SystemExit(3)")


def test_the_time_over(script, capsys):
    assert script("import time; time.sleep(60)", "--minutes", "0.005") == 75
    assert "call it again" in capsys.readouterr().out


@pytest.mark.parametrize("network", ["resnet20", "plain20"])
def test_the_committed_table_is_the_documented_one(network):
    facts = json.loads((RECORDS / f"alf_cifar10_jpeg_{network}.json").read_text())
    assert facts["network"] == network
    table = markdown(facts)
    documented = (ROOT / "docs" / "results.md").read_text()
    for agent, name in itertools.product(("alf", "l1", "l2pf"), ("parameters", "operations")):
        share = facts["agents"][agent]["reductions"][name]
        assert f"{share:+.1%}" in table
        assert f"{100 * share:+.1f} %" in documented
    for agent in ("alf", "l1", "l2pf"):
        final = facts["agents"][agent]["accuracy"]["test"]["final"]
        assert f"{100 * final:.2f} %" in documented
    assert f"{100 * facts['scratch']['test']:.2f} %" in documented
