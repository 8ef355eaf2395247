"""Runs that may be compared are in one group, and no others."""

from benchmarks.groups import differences, group
from benchmarks.results import load


def groups_of(*folders):
    return group(load(folders))


def test_seeds_share_a_row_and_targets_never_a_table(make_run):
    a = [make_run("l2pf", seed, test=0.8 + seed / 100) for seed in (1, 0)]
    b = make_run("l1", 0)
    c = make_run("l2pf", 0, target={"macs": 0.3})
    first, second = groups_of(*a, b, c)
    assert [(row.label, row.seeds) for row in first.rows] == [("l2pf", [0, 1]), ("l1", [0])]
    assert [(row.label, row.seeds) for row in second.rows] == [("l2pf", [0])]
    assert first.missing_controls == ["random", "uniform", "scratch"]
    assert second.wanted == {"macs": 0.3}


def test_each_part_of_the_key_splits(make_run, write_records):
    base = make_run("l1", 0)
    hashes = dict(load([base])[0].setup.hashes)
    others = [
        make_run("l1", 0, env_id="Other-v0"),
        make_run("l1", 0, env_revision=99),
        *(make_run("l1", 0, hashes=hashes | {name: "1" * 64}) for name in hashes),
        write_records(base),
        write_records(base, name="next.jsonl", task_version=2),
    ]
    assert len(groups_of(base, *others)) == len(others) + 1


def test_settings_tell_namesakes_apart_and_repeats_do_not_count(make_run):
    learned = make_run("l2pf", 0)
    fixed = [make_run("l2pf", 0, agent_options={"duration": d}) for d in (0.1, 0.5)]
    again = make_run("l2pf", 0)
    (found,) = groups_of(learned, *fixed, again, make_run("l1", 0, agent_options={"keep": 0.5}))
    assert [row.label for row in found.rows] == [
        "l2pf (duration 0.1)",
        "l2pf (duration 0.5)",
        "l2pf (duration default)",
        "l1",
    ]
    assert found.rows[0].telling == "duration 0.1"
    assert [repeat.source for repeat in found.repeats] == [str(again)]


def test_namesakes_with_many_settings_are_numbered(make_run):
    options = {f"a_rather_long_option_{number}": number for number in range(3)}
    (found,) = groups_of(make_run("l2pf", 0), make_run("l2pf", 0, agent_options=options))
    assert [row.label for row in found.rows] == ["l2pf #1", "l2pf #2"]
    assert found.rows[1].telling.startswith("#2: a_rather_long_option_0 0, ")


def test_differences_of_budgets_and_machines_are_listed(make_run):
    machine = {"processor": "arm64", "cores": 8, "device": "cpu"}
    (found,) = groups_of(
        make_run("l1", 0, final_epochs=0.5),
        make_run("l2pf", 0, final_epochs=2.0, machine=machine, threads=4),
    )
    said = "\n".join(differences(found.rows))
    assert "final epochs: 2.0 (l2pf); 0.5 (l1)" in said
    assert "arm64, 8 cores, cpu (l2pf)" in said
    assert "threads: 4 (l2pf); 1 (l1)" in said
    (same,) = groups_of(make_run("l1", 1), make_run("l2pf", 1))
    assert differences(same.rows) == []
