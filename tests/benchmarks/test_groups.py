"""What may be compared stands together, and nothing else does."""

from benchmarks import leaderboard
from benchmarks.groups import differences, group
from benchmarks.metrics import best_run, first_success, measure
from benchmarks.report.tables import improvement, search_cost
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
    (config,) = [result.config for result in load([base])]
    hashes = config["hashes"]
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


def test_unequal_budgets_and_machines_are_said(make_run):
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


def test_tables_hold_the_numbers(make_run):
    runs = [make_run("l2pf", s, test=0.8 + s / 10, spent=1000 * (s + 1)) for s in range(2)]
    runs += [make_run("l1", 0, test=0.5, spent=10, scratch=0.25)]
    (found,) = groups_of(*runs)
    table = leaderboard.table(found)
    assert [line.name for line in table.lines] == ["l2pf", "l1"]
    names = [name for name, _ in table.head[1:]]
    best = dict(zip(names, table.lines[0].cells, strict=True))
    assert table.lines[0].best
    assert best["test, final"].text == "85.00"
    assert best["test, final"].small == "80.00 – 90.00"
    assert best["seeds"].text == "2"
    assert best["search MACs"].text == "3 k"
    assert best["same shape from scratch"].text == "–"
    control = dict(zip(names, table.lines[1].cells, strict=True))["same shape from scratch"]
    assert control.text == "25.00"
    assert ("same shape from scratch", "%, 0.5 epochs") in table.head

    cost = search_cost(found)
    assert [line.name for line in cost.lines] == ["l1", "l2pf"]
    assert [cell.text for cell in cost.lines[1].cells[:3]] == ["2 of 2", "3 k", "150.00x"]
    assert cost.lines[0].best
    beats = improvement(found)
    assert [cell.text for cell in beats.lines[0].cells] == ["1.00"]


def test_reached_is_the_first_network_within_target_and_tolerance(make_run):
    (result,) = load([make_run("l2pf", 0, spent=7)])
    # psi is below 0 after the first episode.
    assert first_success(result)["search_macs_total"] == 14
    never = result.episodes[:1]
    assert first_success(type(result)("", result.config, never, result.report)) is None


def test_the_best_is_chosen_on_validation_among_those_that_meet_the_target(make_run):
    (found,) = groups_of(make_run("l2pf", 0, test=0.9), make_run("amc", 3, test=0.7))
    assert best_run(found.rows)[1].config["agent"] == "l2pf"
    for row in found.rows:
        if row.agent == "l2pf":
            row.runs[0].report["target"]["met"] = False
    assert best_run(found.rows)[1].config["agent"] == "amc"
    assert leaderboard.table(found).lines[0].name == "amc"


def test_hypervolume_is_that_of_the_search(make_run):
    (result,) = load([make_run("l2pf", 0, test=0.8)])
    last = result.episodes[-1]
    assert last["cost_ratio"] == result.episodes[0]["cost_ratio"]
    # Both networks cost the same; the better one commands the area.
    expected = last["accuracy"] * (1 - 1 / last["cost_ratio"])
    assert abs(measure(result)["hypervolume"] - expected) < 1e-12
