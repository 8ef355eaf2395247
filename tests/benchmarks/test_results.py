"""Runs and records are read whole, or refused with one line that names file and remedy."""

import json

import pytest

from benchmarks.results import load
from prune_gym.errors import PruneGymError
from prune_gym.files import write_json


def test_folders_at_any_depth_and_records_give_the_same(make_run, write_records, tmp_path):
    first, second = make_run("l1", 0), make_run("l2pf", 1, scratch=0.4)
    found = load([tmp_path / "runs"])
    assert [result.source for result in found] == sorted([str(first), str(second)])
    assert all(result.finished for result in found)
    read = load([write_records(first, second)])
    assert [result.task for result in read] == [("tiny", 1)] * 2
    by_agent = {result.config["agent"]: result for result in found}
    for result in read:
        other = by_agent[result.config["agent"]]
        assert result.config == other.config
        assert result.episodes == other.episodes
        assert result.report == other.report
        assert result.scratch == other.scratch
    assert by_agent["l2pf"].scratch["test_accuracy"] == 0.4


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


def _without_cycles(folder):
    path = folder / "episodes.jsonl"
    path.write_text(path.read_text().replace('"cycles"', '"rounds"'))


@pytest.mark.parametrize(
    ("damage", "file", "message", "remedy"),
    [
        (_cut("config.json"), "config.json", "is damaged", "Run it again"),
        (_edit("config.json", lambda c: c.update(schema=7)), "config.json", "schema 7", "again"),
        (_edit("config.json", lambda c: c.pop("hashes")), "config.json", "has no hashes", "Run it"),
        (_damaged_line, "episodes.jsonl", "is damaged", "Run it again"),
        (_without_cycles, "episodes.jsonl", "line 1 has no cycles", "leave it out"),
        (_cut("best/report.json"), "report.json", "is damaged", "leave the run out"),
        (
            _edit("best/report.json", lambda r: r["accuracy"]["test"].update(final="0.9")),
            "report.json",
            "accuracy.test.final='0.9' must be a number",
            "leave it out",
        ),
        (lambda f: (f / "best/network.json").unlink(), "network.json", "missing", "export"),
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


def test_damaged_records(make_run, write_records, tmp_path):
    folder = make_run("l1", 0)
    path = write_records(folder, folder)
    text = path.read_text()
    path.write_text(text[: len(text) - 500])
    with pytest.raises(PruneGymError, match=r"records.jsonl' line 2 is cut off.*Remove that line"):
        load([path])
    other = write_records(folder, name="other.jsonl", schema=2)
    with pytest.raises(PruneGymError, match=r"line 1 is of schema 2, not 1\. Use the version"):
        load([other])
    (tmp_path / "list.jsonl").write_text("[1]\n")
    with pytest.raises(PruneGymError, match="schema None"):
        load([tmp_path / "list.jsonl"])
    (tmp_path / "nan.jsonl").write_text('{"schema": NaN}\n')
    with pytest.raises(PruneGymError, match="NaN"):
        load([tmp_path / "nan.jsonl"])
    (tmp_path / "none.jsonl").write_text("\n")
    with pytest.raises(PruneGymError, match="holds no record"):
        load([tmp_path / "none.jsonl"])
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PruneGymError, match="is no text"):
        load([tmp_path / "binary.jsonl"])
    without = write_records(folder, name="without.jsonl", config=None)
    with pytest.raises(
        PruneGymError, match=r"line 1: config=None is not what it must be \(type object\)"
    ):
        load([without])


def test_fields_of_another_kind(make_run, write_records):
    folder = make_run("l1", 0, scratch=0.4)
    scratch = {"validation_accuracy": 0.4, "test_accuracy": "x"}
    changes = {"task": [1], "task_version": "1", "scratch": scratch}
    told = {"scratch": "line 1, from-scratch control: test_accuracy='x'"}
    for name, value in changes.items():
        path = write_records(folder, name=f"{name}.jsonl", **{name: value})
        with pytest.raises(PruneGymError) as error:
            load([path])
        assert told.get(name, f"line 1: {name}={value!r}") in str(error.value)


def test_paths_without_runs(tmp_path):
    with pytest.raises(PruneGymError, match="does not exist"):
        load([tmp_path / "nowhere"])
    with pytest.raises(PruneGymError, match=r"holds no run.*prune-gym train --out"):
        load([tmp_path])
