"""Targets through the command line: given, met, recorded, shown beside what is reached."""

import json

import pytest

from prune_gym.cli import main
from prune_gym.runs.folder import read_episodes
from prune_gym.runs.recorder import rank

TARGET = ["--target", "macs=0.4", "--target", "latency=0.8", "--target", "accuracy=0.9"]


def test_a_run_meets_its_target_and_shows_it(train_arguments, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(train_arguments(out, *TARGET, "--episodes", "3")) == 0
    printed = capsys.readouterr().out
    wanted = {"macs": 0.4, "latency": 0.8, "accuracy": 0.9}
    config = json.loads((out / "config.json").read_text())
    assert config["env_arguments"]["target"] == wanted
    episodes = read_episodes(out)
    full = json.loads((out / "best" / "report.json").read_text())["costs"]["unpruned"]
    for episode in episodes:
        assert episode["target_met"] is True
        assert episode["macs"] <= 0.4 * full["macs"]
        assert episode["latency_ms"] <= 0.8 * full["latency_ms"]
    assert any(step["mask_changed"] for episode in episodes for step in episode["steps"])
    report = json.loads((out / "best" / "report.json").read_text())
    target, final = report["target"], report["costs"]["final"]
    assert target["wanted"] == wanted
    assert target["met"] is True
    assert target["reached"]["macs"] == final["macs"] / full["macs"]
    validation = report["accuracy"]["validation"]
    assert target["reached"]["accuracy"] == pytest.approx(
        validation["unpruned"] - validation["final"]
    )
    assert "target macs" in printed
    assert "target accuracy drop" in printed
    best = [episode for episode in episodes if episode["best"]][-1]
    assert best["accuracy"] == max(episode["accuracy"] for episode in episodes)
    assert best["macs"] == final["macs"]

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
        ("macs", "is not of the form NAME=VALUE"),
        ("macs=half", "macs='half' must be a number"),
        ("macs=1.2", "macs=1.2 is not within (0, 1]"),
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


@pytest.mark.parametrize(
    ("target", "better", "worse"),
    [
        (None, {"score": 0.4, "accuracy": 0.5}, {"score": 0.3, "accuracy": 0.9}),
        ({"macs": 0.5}, {"score": 0.3, "accuracy": 0.9}, {"score": 0.4, "accuracy": 0.5}),
        ({"accuracy": 0.5}, {"score": 0.4, "accuracy": 0.6}, {"score": 0.3, "accuracy": 0.9}),
    ],
)
def test_the_best_network_is_chosen_by_what_was_asked_for(make_tiny_env, target, better, worse):
    wanted = make_tiny_env(target=target).target
    met, missed = {"target_met": True}, {"target_met": False}
    assert rank(better | met, wanted) > rank(worse | met, wanted) > rank(better | missed, wanted)
    # Of networks that all miss the accuracy that was asked for, the nearest.
    near, far = {"score": 0.1, "accuracy": 0.9} | missed, {"score": 0.9, "accuracy": 0.5} | missed
    assert rank(near, wanted) > rank(far, wanted)
