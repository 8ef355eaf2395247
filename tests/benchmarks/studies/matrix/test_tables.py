"""The tables say what the runs say, by hand-made runs whose answers are known."""

import pytest

from benchmarks.results import load
from benchmarks.studies.matrix import durations, hardware


@pytest.fixture
def arms(make_run):
    """Accuracies are 0.65 and 0.7 at test=0.8; the second episode has twice the cost."""

    def fixed(duration):
        return {} if duration is None else {"agent_options": {"fixed_duration": duration}}

    return load(
        [
            make_run("l2pf", 0, test=0.8, spent=1000, agent_options={}),
            make_run("l2pf", 0, test=0.8, spent=4000, **fixed(0.25)),
            make_run("l2pf", 0, test=0.75, spent=500, **fixed(1.0)),
        ]
    )


def test_cost_to_an_accuracy(arms):
    assert durations.first_of(arms[0], 0.64).search_macs_total == 1000
    assert durations.first_of(arms[0], 0.69).search_macs_total == 2000
    assert durations.first_of(arms[0], 0.9) is None


def test_durations_table(arms):
    lines = durations.markdown(arms, (0.64, 0.69, 0.9)).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "**learned**", "0.25", "1", "best fixed / learned",
    ]  # fmt: skip
    assert "| to 64% | to 69% | best accuracy |" in lines[0], "nothing reaches 90 %"
    assert "| 1.00e+03 | 2.00e+03 | 70.0% |" in lines[2]
    assert "| 4.00e+03 | 8.00e+03 | 70.0% |" in lines[3]
    assert "| 1.00e+03 | – | 65.0% |" in lines[4]
    assert "| 1.00x | 4.00x |" in lines[5]


def test_runs_of_two_settings_are_refused(make_run):
    runs = load([make_run("l2pf", 0), make_run("l2pf", 1, target={"macs": 0.3})])
    with pytest.raises(ValueError, match="2 settings"):
        durations.markdown(runs, (0.5,))


def test_latency_between_neighbours():
    rows = [{"latency": 0.5, "test": 0.80}, {"latency": 0.7, "test": 0.90}]
    assert hardware.latency_at(rows, 0.85) == pytest.approx(0.6)
    assert hardware.latency_at(rows, 0.80) == pytest.approx(0.5)
    assert hardware.latency_at(rows, 0.95) is None
    assert hardware.latency_at(rows[:1], 0.80) is None


def test_hardware_table(make_run):
    runs = load(
        [
            make_run("evolution", 0, test=0.8, scratch=0.3, target={"macs": 0.5}),
            make_run("evolution", 1, test=0.9, scratch=0.5, target={"macs": 0.5}),
            make_run("evolution", 0, test=0.7, target={"latency": 0.5}),
            make_run("evolution", 1, test=0.7, target={"latency": 0.5, "macs": 0.5}),
            make_run("l1", 0, test=0.6, target={"macs": 0.5}),
            make_run("random", 0, test=0.5, target={"latency": 0.4}),
        ]
    )
    (point,) = hardware.points(runs, "macs")
    assert point["test"] == pytest.approx(0.85)
    assert point["seeds"] == 2
    ratio = runs[0].report.ratios["latency_ms"]
    assert point["latency"] == pytest.approx(1 / ratio)
    lines = hardware.markdown(runs).splitlines()
    assert len(lines) == 4
    assert lines[2].endswith("| 85.00% | 60.00% |  |  | 40.00% | outside of its range |")
    assert lines[3].endswith("| 70.00% |  |  |  |  | outside of its range |")
