"""Controls that distribute what a target allows over the layers."""

import itertools

import numpy as np
import pytest

import agents
from agents import knapsack
from agents.base import Budget
from agents.common.allocation import Losses
from agents.sensitivity import equal
from agents.toy import ToyPruning
from prune_gym.envs import PruningEnv
from prune_gym.errors import WeightsError
from tests.agents.helpers import Collect, saved

SETTINGS = {"eval_images": 64, "repair_images": 64, "batch_size": 32, "threads": 1, "scope": "all"}
NAMES = ("sensitivity", "knapsack")
TARGETS = ({"macs": 0.5}, {"params": 0.4}, {"latency": 0.6}, {"macs": 0.6, "params": 0.5})


@pytest.fixture
def make(residual_trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path / "home"))

    def environment(target, **more):
        return PruningEnv(*residual_trained, target=target, **(SETTINGS | more))

    return environment


@pytest.fixture
def losses(make):
    def of(target, **more):
        env = make(target, **more)
        env.reset(seed=0)
        return Losses(env, env.sensitivities())

    return of


def brute_force(losses):
    """The least loss of all networks that meet the target."""
    return min(losses.loss(each) for each in itertools.product(*losses.legal) if losses.meets(each))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_an_episode_keeps_the_computed_counts_and_meets_the_target(make, name, target):
    env = make(target)
    collect = Collect()
    agent = agents.make(name, env, duration=0)
    agent.learn(Budget(episodes=1), collect)
    (infos,) = collect.infos
    assert infos[-1]["target_met"]
    assert not any(info["mask_changed"] for info in infos)
    assert tuple(int(info["mask"].sum()) for info in infos) == agent.counts
    assert agent.steps == 3
    # The target has no room for another channel of any layer.
    losses = Losses(env, env.sensitivities())
    assert losses.filled(agent.counts) == agent.counts


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_equal_sensitivity_is_one_threshold(losses, target):
    found = losses(target)
    counts = equal(found)
    thresholds = {value for table in found.table for value in table.values()}
    met = [each for each in thresholds if found.meets(found.below(each))]
    if "latency" not in target:
        assert counts == found.filled(found.below(min(met)))
    assert found.meets(counts)


@pytest.mark.parametrize("target", [{"macs": 0.5}, {"macs": 0.8}, {"latency": 0.8}], ids=str)
def test_where_costs_add_the_program_finds_the_best(losses, target):
    found = losses(target, scope="inner")
    costs = knapsack._added_costs(found)
    assert costs is not None
    counts = found.filled(knapsack.program(found, *costs))
    assert found.meets(counts)
    assert found.loss(counts) == pytest.approx(brute_force(found), rel=1e-3)


def test_the_program_equals_brute_force_on_random_tables():
    rng = np.random.default_rng(0)
    for _ in range(20):
        tables = [dict(enumerate(np.sort(rng.random(4))[::-1], 1)) for _ in range(3)]
        costs = [dict(enumerate(np.cumsum(rng.random(4) / 4) - 0.0, 1)) for _ in range(3)]
        costs = [{n: value - own[1] for n, value in own.items()} for own in costs]

        class Given:
            table = tables

        best = min(
            sum(table[n] for table, n in zip(tables, counts, strict=True))
            for counts in itertools.product(range(1, 5), repeat=3)
            if 0.3 + sum(own[n] for own, n in zip(costs, counts, strict=True)) <= 1
        )
        counts = knapsack.program(Given, costs, 0.3)
        assert 0.3 + sum(own[n] for own, n in zip(costs, counts, strict=True)) <= 1
        found = sum(table[n] for table, n in zip(tables, counts, strict=True))
        assert best <= found <= best + 0.02
    assert knapsack.program(Given, costs, 1.5) is None


def test_tied_spaces_do_not_add(losses):
    assert knapsack._added_costs(losses({"macs": 0.5})) is None
    assert knapsack._added_costs(losses({"macs": 0.6, "params": 0.5}, scope="inner")) is None


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_the_local_search_is_near_the_best_and_no_worse_than_where_it_starts(losses, target):
    found = losses(target)
    start = equal(found)
    counts = knapsack.descended(found, start)
    assert found.meets(counts)
    assert found.loss(counts) <= found.loss(start)
    assert found.loss(counts) <= 1.3 * brute_force(found) + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_widths_are_saved(make, tmp_path, name):
    env = make({"macs": 0.5})
    agent = agents.make(name, env)
    agent.learn(Budget(episodes=1))
    written = saved(agent, tmp_path / "policy")
    other = agents.make(name, env)
    other.load(tmp_path / "policy")
    spent = env.search_macs_total
    other.begin_episode()
    assert env.search_macs_total == spent
    assert other.counts == agent.counts
    assert saved(other, tmp_path / "again") == written


@pytest.mark.parametrize("name", [*NAMES, "eagleeye"])
def test_what_cannot_be_distributed_is_refused(make, name):
    with pytest.raises(ValueError, match="--target macs="):
        agents.make(name, make(None))
    with pytest.raises(ValueError, match=name):
        agents.make(name, ToyPruning())
    with pytest.raises(ValueError, match="alf"):
        agents.make(name, make({"macs": 0.5}, action_mode="alf"))
    with pytest.raises(ValueError, match="criterion"):
        agents.make(name, make({"macs": 0.5}), criterion="l9")


# EagleEye


def test_eagleeye_draws_networks_that_just_meet_the_target_and_follows_the_best(make):
    env = make({"macs": 0.5})
    collect = Collect()
    agent = agents.make("eagleeye", env, seed=3)
    uniform = agent.best.copy()
    agent.learn(Budget(episodes=6), collect)
    assert all(infos[-1]["target_met"] for infos in collect.infos)
    assert not any(info["mask_changed"] for infos in collect.infos for info in infos)
    assert not any(info["batches"] for infos in collect.infos for info in infos)
    drawn = {tuple(int(info["mask"].sum()) for info in infos) for infos in collect.infos}
    assert len(drawn) > 1
    assert not np.array_equal(agent.best, uniform)
    values = [sum(info["reward"] for info in infos) for infos in collect.infos]
    best = [int(info["mask"].sum()) for info in collect.infos[int(np.argmax(values))]]
    observation, _ = env.reset(seed=0)
    ended, kept = False, []
    while not ended:
        observation, _, ended, _, info = env.step(agent.act(observation))
        kept.append(int(info["mask"].sum()))
    assert kept == best


def test_eagleeye_continues_as_if_it_had_not_stopped(make, tmp_path):
    def agent():
        return agents.make("eagleeye", make({"macs": 0.5}), seed=5)

    whole, first, second = agent(), agent(), agent()
    whole.learn(Budget(episodes=4))
    first.learn(Budget(episodes=2))
    saved(first, tmp_path / "policy")
    second.load(tmp_path / "policy")
    second.env.reset(seed=5)
    second.env.np_random.bit_generator.state = first.env.np_random.bit_generator.state
    second.learn(Budget(episodes=4))
    assert saved(second, tmp_path / "a") == saved(whole, tmp_path / "b")


def test_widths_that_are_not_allowed_are_refused(make, tmp_path):
    agent = agents.make("knapsack", make({"macs": 0.5}))
    agent.learn(Budget(episodes=1))
    agent.counts = (99, -3, 0)
    saved(agent, tmp_path / "policy")
    with pytest.raises(WeightsError, match="widths that the environment does not allow"):
        agents.make("knapsack", make({"macs": 0.5})).load(tmp_path / "policy")


def test_another_environment_gets_widths_of_its_own(make):
    agent = agents.make("sensitivity", make({"macs": 0.5}))
    agent.learn(Budget(episodes=1))
    before = agent.counts
    agent.env = make({"macs": 0.8})
    agent.learn(Budget(episodes=1))
    assert agent.counts != before
    assert Losses(agent.env, agent.env.sensitivities()).meets(agent.counts)
