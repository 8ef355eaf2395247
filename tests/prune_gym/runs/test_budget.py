"""A run with a budget spends all of it, whatever share its search takes."""

import json
from dataclasses import replace

import pytest

from prune_gym.cli import main
from prune_gym.errors import PruneGymError
from prune_gym.runs import Run
from prune_gym.runs.folder import read_episodes, read_report
from tests.prune_gym.conftest import run_config


@pytest.fixture(scope="module", autouse=True)
def home(workplace):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
        yield


def budgeted(workplace, out, **changes):
    config = run_config(workplace, out)
    nothing = dict.fromkeys(("episodes", "steps", "search_macs", "seconds", "final_epochs"))
    return replace(config, **{**nothing, "budget": 3.0, "agent_options": {}, **changes})


@pytest.mark.parametrize("agent", ["l1", "random", "uniform"])
def test_all_of_the_budget_is_used(workplace, tmp_path, agent):
    config = budgeted(workplace, tmp_path / "run", agent=agent)
    report = Run(config, quiet=True).start()
    compute, episodes = report.compute, read_episodes(tmp_path / "run")
    assert 0 <= 3.0 - compute.total < 1
    assert compute.search == episodes[-1].search_macs_total == report.search.search_macs_total
    assert compute.searched <= 0.5
    before_last = episodes[-2].search_macs_total if len(episodes) > 1 else 0
    assert before_last < compute.epoch
    if agent != "random":
        assert len(episodes) == 1
    assert f"{compute.total:.2f} of 3" in report.summary()


def test_what_the_search_takes_shortens_the_final_fine_tune(workplace, tmp_path):
    def lengths(share):
        changes = {"agent": "random", "search_share": share}
        report = Run(budgeted(workplace, tmp_path / f"{share}", **changes), quiet=True).start()
        return report.search.episodes, report.final_epochs

    few, long = lengths(0.05)
    many, short = lengths(0.9)
    assert few < many
    assert short < long


def test_a_search_that_takes_more_than_everything_can_go_on_with_more(workplace, tmp_path, capsys):
    out = tmp_path / "run"
    config = budgeted(workplace, out, agent="l1", budget=0.05)
    with pytest.raises(PruneGymError, match=r"of 0\.05 epoch-equivalents.*--budget"):
        Run(config, quiet=True).start()
    assert read_report(out) is None
    assert main(["train", "--resume", str(out), "--budget", "3", "--quiet"]) == 0
    report = read_report(out)
    assert report.setup.config.budget == 3.0
    assert report.search.episodes == 1
    assert 2 < report.compute.total <= 3


def test_a_stopped_search_is_finished_with_what_is_left(workplace, tmp_path, monkeypatch):
    out = tmp_path / "run"
    config = budgeted(workplace, out, agent="l1")
    whole = Run(replace(config, out=str(tmp_path / "whole")), quiet=True).start()

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("prune_gym.runs.run.finish", stopped)
        with pytest.raises(BaseException, match="Stopped in the final fine-tune"):
            Run(config, quiet=True).start()
    assert main(["export", str(out)]) == 0
    report = read_report(out)
    assert report.compute == whole.compute
    assert report.accuracy == whole.accuracy


def test_the_command_line(workplace, tmp_path, capsys):
    config = budgeted(workplace, tmp_path / "run", agent="l1", search_share=0.5)
    words = config.command()[1:]
    assert main([*words, "--quiet"]) == 0
    assert "epoch-equivalents" in capsys.readouterr().out
    written = json.loads((tmp_path / "run" / "config.json").read_text())["config"]
    assert (written["budget"], written["search_share"], written["episodes"]) == (3.0, 0.5, 1)
    assert main([*words, "--final-epochs", "1", "--out", str(tmp_path / "other")]) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
