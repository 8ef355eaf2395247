"""Runs and records are read whole, or refused with one line that names file and remedy."""

import json
from dataclasses import replace

import pytest

from benchmarks.results import load
from prune_gym.errors import PruneGymError
from prune_gym.files import write_json
from prune_gym.runs.records import best_so_far


def test_folders_at_any_depth_and_records_give_the_same(make_run, write_records, tmp_path):
    first, second = make_run("l1", 0), make_run("l2pf", 1, scratch=0.4)
    found = load([tmp_path / "runs"])
    assert [result.source for result in found] == sorted([str(first), str(second)])
    assert all(result.finished for result in found)
    read = load([write_records(first, second)])
    assert [result.task for result in read] == [("tiny", 1)] * 2
    by_agent = {result.agent: result for result in found}
    for result in read:
        other = by_agent[result.agent]
        assert result.setup.to_json() == other.setup.to_json()
        assert result.report.to_json() == other.report.to_json()
        assert result.scratch == other.scratch
        # Records keep the steps of the best networks alone.
        best = best_so_far(other.setup, other.episodes)
        assert any(best)
        for own, full, kept in zip(result.episodes, other.episodes, best, strict=True):
            assert own == (full if kept else replace(full, steps=()))
    assert by_agent["l2pf"].scratch.test_accuracy == 0.4


def test_an_unfinished_run_is_read_without_its_cut_line(make_run):
    folder = make_run("sac", 0, finished=False)
    with (folder / "episodes.jsonl").open("a") as file:
        file.write('{"schema": 1, "epi')
    (result,) = load([folder])
    assert not result.finished
    assert len(result.episodes) == 2


def _edit(name, change):
    def damage(folder):
        path = folder / name
        value = json.loads(path.read_text())
        change(value)
        write_json(path, value)

    return damage


def _cut(name):
    def damage(folder):
        text = (folder / name).read_text()
        (folder / name).write_text(text[: len(text) // 3])

    return damage


def _damaged_line(folder):
    path = folder / "episodes.jsonl"
    path.write_text('{"episode": \n' + path.read_text())


def _without_accuracy(folder):
    path = folder / "episodes.jsonl"
    path.write_text(path.read_text().replace('"accuracy"', '"accurate"'))


@pytest.mark.parametrize(
    ("damage", "file", "message", "remedy"),
    [
        (_cut("config.json"), "config.json", "is damaged", "Run it again"),
        (_edit("config.json", lambda c: c.update(schema=7)), "config.json", "schema 7", "again"),
        (
            _edit("config.json", lambda c: c.pop("hashes")),
            "config.json",
            "hashes is missing",
            "Run it",
        ),
        (_damaged_line, "episodes.jsonl", "is damaged", "Run it again"),
        (_without_accuracy, "episodes.jsonl", "accuracy is missing", "leave it out"),
        (_cut("best/report.json"), "report.json", "is damaged", "Run it again"),
        (
            _edit("best/report.json", lambda r: r["accuracy"]["test"].update(final="0.9")),
            "report.json",
            "accuracy.test.final='0.9' (expected `float`, got `str`)",
            "leave it out",
        ),
        (lambda f: (f / "best/network.json").unlink(), "network.json", "missing", "Run it again"),
        (lambda f: (f / "episodes.jsonl").unlink(), "episodes.jsonl", "no episode", "again"),
    ],
)
def test_damaged_runs(make_run, damage, file, message, remedy):
    folder = make_run("l1", 0)
    damage(folder)
    with pytest.raises(PruneGymError) as error:
        load([folder])
    text = str(error.value)
    assert "\n" not in text
    assert all(part in text for part in (str(folder), file, message, remedy)), text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]\n", "holds no JSON object"),
        ('{"schema": NaN}\n', "line 1 is damaged.*NaN"),
        ("\n", "holds no record"),
    ],
)
def test_files_of_something_else(tmp_path, text, message):
    path = tmp_path / "records.jsonl"
    path.write_text(text)
    with pytest.raises(PruneGymError, match=message):
        load([path])


def test_damaged_records(make_run, write_records, tmp_path):
    folder = make_run("l1", 0)
    path = write_records(folder, folder)
    text = path.read_text()
    path.write_text(text[: len(text) - 500])
    with pytest.raises(PruneGymError, match=r"records.jsonl' line 2 is damaged.*Remove that line"):
        load([path])
    other = write_records(folder, name="other.jsonl", schema=1)
    with pytest.raises(PruneGymError, match=r"line 1 is of schema 1, not 3.*Use that version"):
        load([other])
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PruneGymError, match="is no text"):
        load([tmp_path / "binary.jsonl"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("setup", None, "line 1: setup=None .expected `object`"),
        ("task", [1], r"line 1: task=\[1\] .expected `str | null`"),
        ("task_version", "1", "line 1: task_version='1' .expected `int | null`"),
        ("episodes", 5, "line 1: episodes=5 .expected `array`"),
        (
            "scratch",
            {"validation_accuracy": 0.4, "test_accuracy": 7.0},
            "line 1: scratch.test_accuracy=7.0 .expected `float` <= 1.0",
        ),
    ],
)
def test_fields_of_another_kind(make_run, write_records, name, value, message):
    path = write_records(make_run("l1", 0, scratch=0.4), **{name: value})
    with pytest.raises(PruneGymError, match=message):
        load([path])


def test_paths_without_runs(tmp_path):
    with pytest.raises(PruneGymError, match="does not exist"):
        load([tmp_path / "nowhere"])
    with pytest.raises(PruneGymError, match=r"holds no run.*prune-gym train --out"):
        load([tmp_path])
