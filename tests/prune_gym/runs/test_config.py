"""A run's configuration checks itself, and JSON keeps all of it."""

import json
from dataclasses import replace

import pytest

from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.runs import RunConfig, agents

FULL = RunConfig(
    "PruneResNet20-v0",
    agent="l1",
    out="runs/x",
    seed=3,
    search_macs=1e13,
    seconds=90.0,
    final_epochs=0.25,
    env_arguments={"target": {"macs": 0.5}, "fast": ["fold"], "objective": "energy"},
    agent_options={"keep": 0.42},
    warm_start=2,
)


def test_json_keeps_everything():
    value = json.loads(json.dumps(FULL.to_json()))
    assert RunConfig.from_json(value) == FULL
    assert FULL.search_macs == 10**13
    assert RunConfig.from_json(RunConfig("PruneResNet20-v0").to_json()).out is None


def test_the_default_is_ten_episodes_and_only_without_another_limit():
    assert RunConfig("PruneResNet20-v0").limits == {"episodes": 10}
    assert RunConfig("PruneResNet20-v0", steps=5).limits == {"steps": 5}
    assert not RunConfig("PruneResNet20-v0", steps=5).search_budget(7).spent(99, 4, 99)


def test_a_budget_limits_the_search_by_its_share_and_replaces_the_other_defaults():
    config = RunConfig("PruneResNet20-v0", budget=2.0, search_share=0.25)
    assert config.limits == {}
    assert config.final_epochs is None
    assert config.search_budget(1000).search_macs == 500
    assert replace(config, search_macs=100).search_budget(1000).search_macs == 100
    assert replace(config, search_macs=900).search_budget(1000).search_macs == 500
    assert RunConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    words = config.command()
    assert words[words.index("--budget") + 1] == "2"
    assert words[words.index("--search-share") + 1] == "0.25"
    assert "--final-epochs" not in words


def test_an_agent_without_a_search_plays_one_episode_of_a_budget():
    budget = RunConfig("PruneResNet20-v0", "l1", budget=2.0)
    assert agents.completed(budget).limits == {"episodes": 1}
    assert agents.completed(replace(budget, episodes=3)).limits == {"episodes": 3}
    assert agents.completed(replace(budget, agent="random")).limits == {}
    assert agents.completed(RunConfig("PruneResNet20-v0", "l1", steps=9)).limits == {"steps": 9}


def test_what_was_given_cannot_be_changed_from_outside():
    given = {"target": {"macs": 0.5}}
    config = RunConfig("PruneResNet20-v0", env_arguments=given)
    given["target"]["macs"] = 0.1
    assert config.env_arguments["target"] == {"macs": 0.5}
    # A tuple becomes the list that JSON makes of it, so that a copy is equal.
    assert RunConfig("x", env_arguments={"fast": ("fold",)}).env_arguments == {"fast": ["fold"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env_id": ""}, "env_id='' must be a name"),
        ({"agent": None}, "agent=None must be a name"),
        ({"out": 3}, "out=3 must be the path"),
        ({"seed": -1}, "seed=-1 must be at least 0"),
        ({"out": ""}, "out='' must be the path"),
        ({"seed": True}, "seed=True must be a whole number"),
        ({"seed": 2**63}, "must be below 2**63"),
        ({"episodes": 0}, "episodes=0 must be at least 1"),
        ({"steps": 2.5}, "steps=2.5 must be a whole number"),
        ({"search_macs": 1.5}, "search_macs=1.5 must be a whole number"),
        ({"seconds": 0}, "seconds=0 must be a finite number above 0"),
        ({"seconds": float("nan")}, "seconds=nan must be"),
        ({"final_epochs": -1}, "final_epochs=-1 must be a finite number of at least 0"),
        ({"final_epochs": float("inf")}, "final_epochs=inf must be"),
        ({"final_epochs": "many"}, "final_epochs='many' must be a number"),
        ({"budget": 2.0}, "final_epochs=0.25 and budget=2.0 exclude each other"),
        ({"final_epochs": None, "budget": 0}, "budget=0 must be a finite number above 0"),
        ({"final_epochs": None, "budget": "2"}, "budget='2' must be a number"),
        ({"search_share": 0}, "search_share=0 must be a finite number above 0 and at most 1"),
        ({"search_share": 1.5}, "search_share=1.5 must be a finite number above 0 and at most 1"),
        ({"warm_start": -1}, "warm_start=-1 must be at least 0"),
        ({"env_arguments": 3}, "env_arguments=3 must be a mapping"),
        ({"agent_options": {"keep": object()}}, "cannot be written as JSON"),
        ({"agent_options": {"keep": float("nan")}}, "cannot be written as JSON"),
    ],
)
def test_bad_values_are_named(change, message):
    with pytest.raises(PruneGymError) as error:
        replace(FULL, **change)
    assert message in str(error.value)


def test_arguments_of_the_environment_are_checked():
    with pytest.raises(UnknownNameError, match="Did you mean 'tolerance'"):
        RunConfig("PruneResNet20-v0", env_arguments={"tolerence": 0.5})
    with pytest.raises(ValueError, match=r"min_keep=2\.5"):
        RunConfig("PruneResNet20-v0", env_arguments={"min_keep": 2.5})


def test_a_limit_that_never_ends_is_refused():
    with pytest.raises(PruneGymError, match="spends no MACs"):
        RunConfig("PruneResNet20-Surrogate-v0", search_macs=10**9)
    RunConfig("PruneResNet20-Surrogate-v0", search_macs=10**9, episodes=5)


def test_unknown_and_missing_names_in_json():
    with pytest.raises(UnknownNameError, match="Did you mean 'episodes'"):
        RunConfig.from_json({"env_id": "x", "episode": 3})
    with pytest.raises(PruneGymError, match="env_id is missing"):
        RunConfig.from_json({})
    with pytest.raises(PruneGymError, match="out is missing"):
        _ = RunConfig("x").folder


def test_arguments_of_the_environment_with_their_defaults():
    values = FULL.environment()
    assert (values.network, values.dataset) == ("resnet20", "shapes")
    assert (values.objective, values.tolerance) == ("energy", 0.2)
    assert RunConfig("PruneResNet20-ALF-v0").environment().action_mode == "alf"


def test_the_command_line_that_does_the_same():
    words = FULL.command()
    assert words[:4] == ["prune-gym", "train", "PruneResNet20-v0", "--agent"]
    for pair in (
        ("--search-macs", "1e+13"),
        ("--minutes", "1.5"),
        ("--target", "macs=0.5"),
        ("--env", 'fast=["fold"]'),
        ("--objective", "energy"),
        ("--set", "keep=0.42"),
        ("--warm-start-episodes", "2"),
    ):
        assert " ".join(pair) in " ".join(words)
