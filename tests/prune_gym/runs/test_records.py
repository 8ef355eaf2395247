"""Records hold what was observed; scores, ranks and targets are computed from it."""

import copy
import json
import math

import pytest

from prune_gym.costs import Costs, StepCosts
from prune_gym.envs.state import BlockRecord
from prune_gym.errors import PruneGymError
from prune_gym.runs import Episode, Report, RunConfig, Setup, Step
from prune_gym.runs.compute import Compute
from prune_gym.runs.records import Accuracies, Accuracy, Spending, best_so_far

FULL = Costs(1000, 2000, 300, 1.5, 80.0, 2000, 500)
HALF = StepCosts(500, 1000, 150, 0.75, 40.0)


def make_setup(target=None, **arguments):
    config = RunConfig(
        "PruneResNet20-v0", env_arguments={"target": target, "tolerance": 0.5, **arguments}
    )
    hashes = dict.fromkeys(("weights", "dataset", "accelerator"), "ab")
    return Setup(
        config, 0.9, FULL, {"one": 8, "two": 16}, hashes, 2, 1, {"python": "3"}, {"cores": 2}, "now"
    )


def make_episode(number=0, accuracy=0.8, costs=HALF, complete=True, steps=()):
    return Episode(number, complete, accuracy, costs, 10, 20 + number, 4, 1.25, 0.5, tuple(steps))


STEPS = (
    Step("one", (0, 3), True, 0.5, 3, 0.85, HALF, seed=2**62),
    Step("two", (1,), False, 0.0, 0, 0.8, HALF, block=BlockRecord(0.5, 1, False, 0.1, 7)),
)


def make_report(setup):
    return Report(
        Accuracies(Accuracy(0.92, 0.9, 0.7), Accuracy(0.91, 0.88)),
        Costs(500, 800, 150, 0.75, 40.0, 1000, 500),
        {"one": 4, "two": 16},
        {},
        0.5,
        0,
        Spending(2, 40, 10**12, 3.5, 7.0),
        Compute(10**12, 10**12, 2 * 10**12, 10**12),
        setup,
        {"model.onnx": 1e-6},
    )


def again(value):
    return json.loads(json.dumps(value, allow_nan=False))


def test_json_keeps_everything():
    setup, episode = make_setup({"macs": 0.5}), make_episode(steps=STEPS)
    report = make_report(setup)
    assert Setup.from_json(again(setup.to_json()), "file") == setup
    assert Episode.from_json(again(episode.to_json()), "file") == episode
    assert Report.from_json(again(report.to_json()), "file") == report


def test_ratios_and_scores_follow_from_accuracy_and_costs():
    setup = make_setup(objective="macs")
    assert setup.ratio(HALF) == 2
    assert setup.ratio(HALF, "edp") == 4
    assert setup.psi(0.8) == pytest.approx(0.8)
    assert setup.score(0.8, HALF) == pytest.approx(0.8 * math.log(2))
    assert setup.psi(0.3) < 0 < setup.psi(0.5)
    ratios = make_report(setup).ratios
    assert (ratios["params"], ratios["macs"], ratios["peak_activation_bytes"]) == (2, 2.5, 1)


def test_targets_follow_from_accuracy_and_costs():
    setup = make_setup({"macs": 0.5, "accuracy": 0.1})
    found = setup.target(0.8, HALF)
    assert found.reached == {"macs": 0.5, "accuracy": 0.1}
    assert found.met
    assert not setup.target(0.79, HALF).met
    told = setup.target(0.79, HALF).lines()
    assert told[0].split() == ["target", "macs", "<=", "0.5", "0.5000", "met"]
    assert told[1].endswith("NOT met")
    assert make_setup().target(0.1, HALF).met
    # Of the exported network on the whole split, whatever the subset said.
    assert make_report(setup).target.reached == {"macs": 0.4, "accuracy": 0.02}


@pytest.mark.parametrize(
    ("target", "better", "worse"),
    [
        (None, (0.8, 0.25), (0.85, 0.75)),
        ({"macs": 0.5}, (0.85, 0.5), (0.8, 0.25)),
        ({"accuracy": 0.3}, (0.8, 0.25), (0.85, 0.75)),
    ],
)
def test_the_best_network_is_chosen_by_what_was_asked_for(target, better, worse):
    def rank(accuracy, share):
        costs = StepCosts(1, round(2000 * share), 1, 1.5 * share, 80.0 * share)
        return setup.rank(accuracy, costs)

    setup = make_setup(target)
    assert rank(*better) > rank(*worse)
    if target:
        missed = (0.5, 0.6)
        assert rank(*worse) > rank(*missed)
        # Among networks that miss the target, the most accurate.
        assert rank(0.55, 0.9) > rank(*missed)


def test_best_episodes():
    setup = make_setup({"macs": 0.5})
    accuracies = (0.7, 0.6, 0.8, 0.9, 0.85)
    episodes = [make_episode(n, accuracy, complete=n != 3) for n, accuracy in enumerate(accuracies)]
    assert best_so_far(setup, episodes) == [True, False, True, False, True]


def test_the_summary_has_costs_and_target():
    lines = make_report(make_setup({"macs": 0.5})).summary().splitlines()
    assert lines[1].split() == ["test", "accuracy", "91.00%", "88.00%", "-3.00", "p"]
    assert lines[3].split() == ["MACs", "2,000", "800", "2.50x"]
    assert lines[-2].split() == ["target", "macs", "<=", "0.5", "0.4000", "met"]
    assert lines[-1].split(maxsplit=1)[1] == "4.00 (search 1.00, fine-tune 2.00, teacher 1.00)"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("accuracy",), 1.5, "accuracy=1.5 (expected `float` <= 1.0)"),
        (("steps", 0, "accuracy"), "high", "steps[0].accuracy='high' (expected `float`"),
        (("steps", 0, "kept"), 3, "steps[0].kept=3 (expected `array`"),
        (("steps", 1, "kept", 0), -1, "steps[1].kept[0]=-1 (expected `int` >= 0)"),
        (("steps", 0, "seed"), 2**63, "steps[0].seed=9223372036854775808 (expected"),
        (("steps", 1, "block", "codes"), 1.5, "steps[1].block.codes=1.5 (expected `int`"),
        (("costs", "macs"), 0, "costs.macs=0 (expected `int` >= 1)"),
        (("costs", "energy_uj"), 0, "costs.energy_uj=0 (expected `float` > 0.0)"),
        (("wall_seconds",), 1e31, "wall_seconds=1e+31 (expected `float` <= 1e+30)"),
        (("complete",), None, "complete=None (expected `bool`"),
        (("steps",), {"a": [1] * 50}, "1, 1, ... (expected `array`"),
    ],
)
def test_damage_is_named(path, value, message):
    damaged = again(make_episode(steps=STEPS).to_json())
    place = damaged
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(PruneGymError) as error:
        Episode.from_json(damaged, "run/episodes.jsonl line 1")
    assert str(error.value).startswith("run/episodes.jsonl line 1")
    assert message in str(error.value)


def test_unknown_fields_are_named():
    damaged = again(make_report(make_setup()).to_json())
    damaged["setup"]["config"]["epsiodes"] = 3
    with pytest.raises(PruneGymError, match=r"unknown field 'setup\.config\.epsiodes'"):
        Report.from_json(damaged, "file")


def test_missing_values_and_other_schemas_are_named():
    whole = again(make_report(make_setup()).to_json())
    damaged = copy.deepcopy(whole)
    del damaged["accuracy"]["test"]["final"]
    with pytest.raises(PruneGymError, match=r"accuracy\.test\.final is missing"):
        Report.from_json(damaged, "file")
    with pytest.raises(PruneGymError, match="file is of schema 1, not 3"):
        Report.from_json({**whole, "schema": 1}, "file")
    with pytest.raises(PruneGymError, match="file holds no JSON object"):
        Setup.from_json(3, "file")
    setup = {"schema": 3, **whole["setup"]}
    with pytest.raises(PruneGymError, match="file: seed=-1 must be at least 0"):
        Setup.from_json({**setup, "config": {"env_id": "x", "seed": -1}}, "file")
