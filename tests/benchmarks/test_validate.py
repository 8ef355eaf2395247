"""The committed records are what this code still does, and what the documents show."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

import benchmarks
from benchmarks import leaderboard, results, tasks, validate
from prune_gym.cli import main
from prune_gym.errors import PruneGymError
from prune_gym.provenance import machine, versions
from prune_gym.runs.records import best_so_far

FOLDER = Path(benchmarks.__file__).parent / "data"
DOCUMENTS = Path(benchmarks.__file__).parents[1] / "docs"
OF_TASKS = [path for path in sorted(FOLDER.glob("*.jsonl")) if path.stem in tasks.TASKS]


@pytest.mark.float
def test_the_smoke_records_replay(capsys):
    assert main(["validate", str(FOLDER / "smoke.jsonl"), "--final", "--quiet"]) == 0
    assert "2 records, 0 differences" in capsys.readouterr().out


@pytest.mark.parametrize("path", OF_TASKS, ids=lambda path: path.stem)
def test_committed_records_are_of_present_tasks(path):
    found = results.load([path])
    assert {result.task for result in found} == {(path.stem, tasks.find(path.stem).version)}
    for result in found:
        validate.check_replayable(result)
        assert result.report.target.met
        best = best_so_far(result.setup, result.episodes)
        assert [bool(episode.steps) for episode in result.episodes] == best
        images = result.setup.config.env_arguments.get("dataset")
        assert images in (None, results.ANONYMOUS)


@pytest.mark.parametrize("path", [path for path in OF_TASKS if path.stem != "smoke"])
def test_documents_show_the_leaderboard_of_the_records(path):
    table = leaderboard.text(results.load([path]))
    assert table in (DOCUMENTS / "results.md").read_text(encoding="utf-8")


def test_runs_outside_of_tasks_are_read_but_not_replayed(tmp_path):
    lines = (FOLDER / "smoke.jsonl").read_text(encoding="utf-8").splitlines()
    values = [json.loads(line) for line in lines]
    for value in values:
        del value["task"]
    path = tmp_path / "other.jsonl"
    path.write_text("\n".join(map(json.dumps, values)), encoding="utf-8")
    found = results.load([path])
    assert {result.agent for result in found} == {"l1", "random"}
    with pytest.raises(PruneGymError, match="belongs to no task"):
        validate.check_replayable(found[0])


def test_tolerance_depends_on_processor_instructions_and_versions():
    (result, *_) = results.load([FOLDER / "smoke.jsonl"])
    here = replace(result.setup, machine=machine("cpu"), versions=versions())
    assert validate.tolerance(replace(result, setup=here)).each == 1e-5
    for name in ("microarchitecture", "vector", "device"):
        other = replace(here, machine={**here.machine, name: "another"})
        assert validate.tolerance(replace(result, setup=other)).each == 0.15
    other = replace(here, versions={**here.versions, "torch": "1.0"})
    assert validate.tolerance(replace(result, setup=other)).why == "other torch"
