"""The speed benchmark's own parts, on the smallest task."""

import pytest

from benchmarks.studies.speed import growth, refit, search, step
from benchmarks.studies.speed.measurement import Measurement, markdown
from benchmarks.studies.speed.step import tiny_env


def test_ratios_say_how_many_times_better():
    time, rate = (
        Measurement("a", 2.0, "s", 6.0),
        Measurement("b", 60.0, "steps/s", 20.0, faster=True),
    )
    assert time.ratio == rate.ratio == 3.0
    assert Measurement("c", 1.0, "s").ratio is None
    table = markdown([time, Measurement("d", 1.0, "s", target="below 2 s", met=False)])
    assert "| a | 6 s | 2 s | 3.00x |" in table
    assert "below 2 s: **missed**" in table


def test_cases_take_turns_and_the_first_turn_is_not_counted():
    seen = []

    def case(name):
        return lambda turn: (seen.append((name, turn)), float(len(seen)))[1]

    found = step.alternate({"x": case("x"), "y": case("y")}, 3)
    assert [name for name, _ in seen] == ["x", "y"] * 4
    assert found == {"x": 5.0, "y": 6.0}


@pytest.fixture
def tiny(monkeypatch):
    def make(name, **arguments):
        return tiny_env()

    monkeypatch.setattr(step, "make", make)
    monkeypatch.setattr(search, "make", make)
    monkeypatch.setattr(growth, "make", make)


def test_every_part_measures(tiny):
    rows = [*step.resets("tiny", {}), *growth.own_work("tiny", {}, 1)]
    rows += step.candidates("tiny", {}, 1, count=3)
    rows += step.steps("tiny", {}, 1)
    profile = growth.profile("tiny", {}, 0.5, 1)
    *parts, total = (row.value for row in profile)
    assert sum(parts) == pytest.approx(total)
    rows += profile
    assert all(row.value >= 0 for row in rows)
    assert all(row.value <= 100 for row in rows if row.unit == "%")
    assert sum(row.met is not None for row in rows) >= 4


def test_memory_stays_flat_on_the_smallest_task():
    assert step.memory(60)[0].value < 20


def test_the_search_says_when_it_finds_nothing(tiny):
    with pytest.raises(RuntimeError, match="no network at"):
        # Untrained on noise: nothing is within a tolerance that no network can meet.
        search.time_to_network("tiny", {}, 0, 1, initial_keep=0.99)


def test_the_memory_of_a_refit_is_measured():
    memory, seconds = refit.rows(inputs=4_000, outputs=500, images=32)
    assert (memory.unit, seconds.unit) == ("GiB", "s")
    assert "4,000 to 500, 32 images: peak memory" in memory.what
    # At least the new weights; the system of the inputs alone would take 0.12 GiB.
    assert 0 <= memory.value < 0.1
    assert seconds.value > 0
