"""The committed records are what this code still does."""

from pathlib import Path

import pytest

from benchmarks import records, results, tasks
from prune_gym.cli import main

FOLDER = Path(records.__file__).parent / "data"


@pytest.mark.float
def test_the_smoke_records_replay(capsys):
    assert main(["validate", str(FOLDER / "smoke.jsonl"), "--final", "--quiet"]) == 0
    assert "2 records, 0 differences" in capsys.readouterr().out


OF_TASKS = [path for path in sorted(FOLDER.glob("*.jsonl")) if path.stem in tasks.TASKS]


def test_the_committed_tables_are_of_tasks():
    assert {"smoke", "shapes", "cifar10-3.84x-short"} <= {path.stem for path in OF_TASKS}


@pytest.mark.parametrize("path", OF_TASKS, ids=lambda path: path.stem)
def test_committed_records_are_of_present_tasks(path):
    found = results.load([path])
    assert {result.task for result in found} == {(path.stem, tasks.find(path.stem).version)}
    for result in found:
        records.check_replayable(result)
        assert result.report is not None
        assert result.report["target"]["met"]
        assert any(episode["steps"] for episode in result.episodes)
        assert result.config["env_arguments"].get("dataset") in (None, records.SOMEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(FOLDER.glob("shapes*.jsonl")), ids=lambda path: path.name)
def test_all_committed_records_replay(path):
    assert main(["validate", str(path), "--quiet"]) == 0
