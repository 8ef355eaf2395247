"""Records survive a killed process, and reject invalid rows."""

import json

import pytest

from prune_gym.errors import DataError
from prune_gym.files import append_line
from prune_gym.surrogate import records as records_module
from prune_gym.surrogate.records import cut_to_whole_lines, joined, read


@pytest.fixture
def written(tiny_records, tmp_path):
    records, _ = tiny_records
    path = tmp_path / "records.jsonl"
    append_line(path, records.header)
    for episode in records.episodes:
        append_line(path, episode.as_dict())
    return path


def test_written_records_are_read(written, tiny_records):
    records, _ = tiny_records
    again = read(written)
    assert again.episodes == records.episodes
    assert again.header == json.loads(json.dumps(records.header))
    assert any(step.tried for episode in again.episodes for step in episode.steps)


def test_an_incomplete_line_is_ignored_and_then_removed(written, tiny_records):
    records, _ = tiny_records
    whole = written.read_bytes()
    written.write_bytes(whole[:-20])
    assert read(written).episodes == records.episodes[:-1]
    cut_to_whole_lines(written)
    append_line(written, records.episodes[-1].as_dict())
    assert written.read_bytes() == whole


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "Line 3 .*damaged"),
        ("[1]", "Line 3 .*not a table"),
        ('{"episode": 1}', "Line 3 .*not an episode.*policy"),
        ('{"kept": [0, 0]}', "kept"),
        ('{"kept": [6]}', "kept"),
        ('{"kept": []}', "kept"),
        ('{"accuracy": 1.5}', "accuracy"),
        ('{"accuracy": NaN}', "NaN is not allowed"),
        ('{"batches": -1}', "batches"),
        ('{"space": "three"}', "three"),
    ],
)
def test_a_bad_line_is_named(written, tiny_records, line, match):
    lines = written.read_text().splitlines()
    change = json.loads(line) if line.startswith('{"') else None
    if change is not None and "episode" not in change:
        episode = tiny_records[0].episodes[1].as_dict()
        episode["steps"][0] |= change
        line = json.dumps(episode)
    written.write_text("\n".join([*lines[:2], line, *lines[3:]]) + "\n")
    with pytest.raises(DataError, match=match):
        read(written)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="prune-gym record"):
        read(tmp_path / "none")
    path = tmp_path / "other.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match="no records"):
        read(path)
    path.write_text('{"schema": 99}\n')
    with pytest.raises(DataError, match="schema"):
        read(path)


def test_files_of_other_conditions_are_not_joined(tiny_records):
    records, _ = tiny_records
    both = joined([records, records], ["a", "b"])
    assert len(both.episodes) == 2 * len(records.episodes)
    conditions = records.header["conditions"] | {"recovery": "none"}
    other = records_module.Records(records.header | {"conditions": conditions}, records.episodes)
    with pytest.raises(DataError, match=r"'b' and 'a'.*recovery is 'none' and 'lsq'"):
        joined([records, other], ["a", "b"])
