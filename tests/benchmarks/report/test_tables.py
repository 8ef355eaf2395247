"""The page's tables show the numbers of the runs."""

from benchmarks.groups import group
from benchmarks.report.tables import improvement, search_cost
from benchmarks.results import load


def test_cost_of_the_search_and_improvement(make_run):
    runs = [make_run("l2pf", s, test=0.8 + s / 10, spent=1000 * (s + 1)) for s in range(2)]
    runs += [make_run("l1", 0, test=0.5, spent=10)]
    (found,) = group(load(runs))
    cost = search_cost(found)
    assert [line.name for line in cost.lines] == ["l1", "l2pf"]
    assert [cell.text for cell in cost.lines[1].cells[:3]] == ["2 of 2", "3 k", "150.00x"]
    assert cost.lines[0].best
    beats = improvement(found)
    assert [cell.text for cell in beats.lines[0].cells] == ["1.00"]
