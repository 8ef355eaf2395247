"""Targets through the command line: given, met, recorded, shown beside what is reached."""

import pytest

from prune_gym.cli import main
from prune_gym.runs.folder import read_episodes, read_report, read_setup
from prune_gym.runs.records import best_so_far

TARGET = ["--target", "macs=0.4", "--target", "latency=0.8", "--target", "accuracy=0.9"]


def test_a_run_meets_its_target_and_shows_it(train_arguments, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(train_arguments(out, *TARGET, "--episodes", "3")) == 0
    printed = capsys.readouterr().out
    wanted = {"macs": 0.4, "latency": 0.8, "accuracy": 0.9}
    setup, episodes, report = read_setup(out), read_episodes(out), read_report(out)
    assert setup.wanted == wanted
    for episode in episodes:
        assert setup.target(episode.accuracy, episode.costs).met
        assert episode.costs.macs <= 0.4 * setup.costs.macs
        assert episode.costs.latency_ms <= 0.8 * setup.costs.latency_ms
    assert any(step.mask_changed for episode in episodes for step in episode.steps)
    assert report.target.wanted == wanted
    assert report.target.met
    assert report.target.reached["macs"] == report.costs.macs / setup.costs.macs
    assert report.target.reached["accuracy"] == pytest.approx(
        report.accuracy.validation.unpruned - report.accuracy.validation.final
    )
    assert "target macs" in printed
    assert "target accuracy drop" in printed
    flags = best_so_far(setup, episodes)
    best = [episode for episode, flag in zip(episodes, flags, strict=True) if flag][-1]
    assert best.accuracy == max(episode.accuracy for episode in episodes)
    assert best.costs.macs == report.costs.macs

    assert main(["evaluate", str(out), "--threads", "1"]) == 0
    assert "target latency" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--threads", "1", "--target", "params=0.01"]) == 2
    assert "params=0.01 cannot be reached" in capsys.readouterr().err
    assert main(["evaluate", str(out), "--threads", "1", "--env", "target=null"]) == 0
    assert "target" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("mac=0.4", "Unknown target 'mac'. Did you mean 'macs'"),
        ("macs", "must be NAME=VALUE"),
        ("macs=half", "macs='half' must be a number"),
        ("macs=1.2", "macs=1.2 must be a share"),
        ("macs=0.01", "macs=0.01 cannot be reached: the least within reach is macs=0.1623"),
    ],
)
def test_a_bad_target_is_refused_before_anything_is_written(
    train_arguments, tmp_path, capsys, given, message
):
    out = tmp_path / "out"
    assert main(train_arguments(out, "--target", given)) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
