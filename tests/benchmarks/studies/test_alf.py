"""ALF's runs continue after an interruption; the committed record is what the docs print."""

import itertools
import json
import sys
from pathlib import Path

import pytest

from benchmarks.stages import Stage
from benchmarks.studies import alf
from benchmarks.studies.alf import __main__
from benchmarks.studies.alf.stages import Setting, stages
from benchmarks.studies.alf.table import markdown

ROOT = Path(alf.__file__).parents[3]
RECORDS = ROOT / "benchmarks" / "data"


@pytest.fixture
def setting(tmp_path):
    return Setting("resnet20", "shapes", tmp_path, 0, "cpu", 1, 12.0, 1.0, 0.5, False, 50)


def test_all_networks_get_equal_training(setting):
    found = {stage.name: stage for stage in stages(setting)}
    assert list(found) == ["baseline", "alf", "scratch", "l1", "l2pf"]
    assert found["baseline"].done(), "it ships with the package"
    words = {name: " ".join(stage.command()) for name, stage in found.items()}
    assert "--set epochs=1.0" in words["alf"]
    assert "--final-epochs 0.5" in words["alf"]
    assert "--epochs 1.5" in words["scratch"]
    for agent in ("l1", "l2pf"):
        assert "--final-epochs 1.5" in words[agent]
        assert "--target macs=0.39" in words[agent]
    assert not any(found[name].done() for name in ("alf", "scratch", "l1", "l2pf"))


def test_an_interrupted_run_continues(setting):
    folder = setting.run("l1")
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    l1 = next(stage for stage in stages(setting) if stage.name == "l1")
    assert f"train --resume {folder}" in " ".join(l1.command())
    (folder / "best").mkdir()
    (folder / "best" / "report.json").write_text("{}")
    assert l1.done()


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
