"""Numbers of single runs and their aggregates, by runs whose answers are known."""

from dataclasses import replace

from benchmarks import leaderboard
from benchmarks.groups import group
from benchmarks.metrics import best_run, first_success, measure
from benchmarks.results import load


def test_success_is_the_first_network_within_target_and_tolerance(make_run):
    (result,) = load([make_run("l2pf", 0, spent=7)])
    # psi is below 0 after the first episode.
    assert first_success(result).search_macs_total == 14
    assert first_success(replace(result, episodes=result.episodes[:1])) is None


def test_the_best_is_chosen_on_validation_among_those_that_meet_the_target(make_run):
    better, worse = load([make_run("l2pf", 0, test=0.9)]), load([make_run("amc", 3, test=0.7)])
    (found,) = group([*better, *worse])
    assert best_run(found.rows)[1].agent == "l2pf"
    unpruned = replace(better[0].report, costs=better[0].setup.costs)
    (found,) = group([replace(better[0], report=unpruned), *worse])
    assert best_run(found.rows)[1].agent == "amc"
    assert leaderboard.table(found).lines[0].name == "amc"


def test_hypervolume_is_that_of_the_search(make_run):
    (result,) = load([make_run("l2pf", 0, test=0.8)])
    first, last = (result.setup.ratio(episode.costs) for episode in result.episodes)
    assert first == last
    # Both networks cost the same; the better one alone has an area.
    expected = result.episodes[-1].accuracy * (1 - 1 / last)
    assert abs(measure(result)["hypervolume"] - expected) < 1e-12
