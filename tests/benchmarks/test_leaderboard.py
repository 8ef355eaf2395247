"""The leaderboards show the numbers of the runs."""

from dataclasses import replace

from benchmarks import leaderboard
from benchmarks.groups import group
from benchmarks.results import load


def test_page_shows_the_numbers(make_run):
    runs = [make_run("l2pf", s, test=0.8 + s / 10, spent=1000 * (s + 1)) for s in range(2)]
    runs += [make_run("l1", 0, test=0.5, spent=10, scratch=0.25)]
    (found,) = group(load(runs))
    table = leaderboard.table(found)
    assert [line.name for line in table.lines] == ["l2pf", "l1"]
    names = [name for name, _ in table.head[1:]]
    best = dict(zip(names, table.lines[0].cells, strict=True))
    assert table.lines[0].best
    assert best["test, final"].text == "85.00"
    assert best["test, final"].small == "80.00 – 90.00"
    assert best["seeds"].text == "2"
    compute = load(runs)[0].report.compute
    assert best["compute"].text == f"{compute.total:.3g}"
    assert best["searched"].text == f"{100 * compute.searched:.2f}"
    assert best["same shape from scratch"].text == "–"
    control = dict(zip(names, table.lines[1].cells, strict=True))["same shape from scratch"]
    assert control.text == "25.00"
    assert ("same shape from scratch", "%, 0.5 epochs") in table.head


def test_text_shows_the_numbers_best_test_first(make_run):
    runs = [make_run("l2pf", seed, test=0.8 + seed / 10, spent=1000) for seed in range(2)]
    lines = leaderboard.text(load([make_run("l1", 0, test=0.5, scratch=0.25), *runs])).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["l2pf", "l1 (control)"]
    assert "| 2 | " in lines[2]
    assert "| 85.00% | 80.00% to 90.00% |" in lines[2]
    compute = load(runs)[0].report.compute
    shares = f"| {compute.total:.2f} | {compute.searched:.0%} |"
    assert lines[2].endswith(f"{shares}  | +35.00 |")
    assert "| 50.00% |  | 25.00% |" in lines[3]


def test_runs_on_other_hardware_get_a_table_of_their_own(make_run):
    (result,) = load([make_run("l1", 0)])
    hashes = {**result.setup.hashes, "accelerator": "f" * 64}
    other = replace(result, setup=replace(result.setup, hashes=hashes))
    text = leaderboard.text([result, other])
    assert text.count("| agent |") == 2
    assert "Of accelerator ffffffffffff (not to be compared with the others):" in text
