"""The controls do what their names say."""

import builtins

import numpy as np
import pytest

import agents
from agents.base import Budget, Callback
from agents.toy import ToyPruning
from prune_gym.errors import PruneGymError, WeightsError
from tests.agents.helpers import FixedToy


class Collect(Callback):
    def __init__(self):
        self.episodes, self.infos = [], []

    def on_episode(self, number, env, infos):
        self.episodes.append([info["mask"] for info in infos])
        self.infos.append(infos)


def masks_of(name, env, episodes=1, **options):
    collect = Collect()
    agents.make(name, env, **options).learn(Budget(episodes=episodes), collect)
    return collect.episodes


@pytest.mark.float
def test_l1_keeps_the_largest_norms(make_tiny_env):
    env = make_tiny_env()
    ((first, _),) = masks_of("l1", env, keep=0.5)
    norms = env.baseline.module.first.weight.detach().abs().flatten(1).sum(1).numpy()
    assert sorted(np.argsort(norms)[-3:].tolist()) == np.flatnonzero(first).tolist()


@pytest.mark.float
@pytest.mark.parametrize("observation", ["features", "weights"])
def test_fpgm_drops_the_filters_nearest_to_all_others(make_tiny_env, observation):
    env = make_tiny_env(observation=observation)
    ((first, _),) = masks_of("fpgm", env, keep=0.5)
    rows = env.baseline.module.first.weight.detach().flatten(1).numpy()
    distances = np.linalg.norm(rows[:, None] - rows[None], axis=2).sum(1)
    assert sorted(np.argsort(distances)[-3:].tolist()) == np.flatnonzero(first).tolist()


def test_uniform_keeps_the_same_share_at_random(make_tiny_env):
    episodes = masks_of("uniform", make_tiny_env(), episodes=8, keep=0.5, duration=0)
    assert {int(masks[0].sum()) for masks in episodes} == {3}
    assert {int(masks[1].sum()) for masks in episodes} == {2}
    assert len({tuple(masks[0]) for masks in episodes}) > 1


def test_random_varies_the_share(make_tiny_env):
    episodes = masks_of("random", make_tiny_env(), episodes=12, duration=0)
    assert len({int(masks[0].sum()) for masks in episodes}) > 2


@pytest.mark.parametrize("name", ["uniform", "l1", "fpgm"])
def test_one_ratio_just_meets_a_target(make_tiny_env, name):
    env = make_tiny_env(target={"macs": 0.6})
    collect = Collect()
    agent = agents.make(name, env)
    assert agent.keep == env.ratio_for_target()
    agent.learn(Budget(episodes=1), collect)
    (infos,) = collect.infos
    assert infos[-1]["target_met"]
    assert not any(info["mask_changed"] for info in infos)
    assert agents.make(name, env, keep=0.9).keep == 0.9
    assert agents.make(name, make_tiny_env()).keep == 0.5


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": 1.5}, {"duration": -1}])
def test_bad_options(make_tiny_env, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("l1", make_tiny_env(), **options)


def test_words_are_no_numbers(make_tiny_env):
    with pytest.raises(ValueError, match="'l2pf': candidates='x' must be a number"):
        agents.make("l2pf", make_tiny_env(), candidates="x")


def test_what_the_observation_does_not_show_cannot_rank():
    with pytest.raises(ValueError, match="needs the observation's 'distance'"):
        agents.make("fpgm", ToyPruning())


@pytest.mark.float
def test_greedy_takes_what_pays_best_now(make_tiny_env):
    env = make_tiny_env()
    tried = []

    class Trials(Callback):
        def on_trial(self, reward, info):
            tried.append((info["position"], reward))

    collect = Trials()
    agent = agents.make("greedy", env, ratios=[0.2, 0.6, 1.0], durations=[0, 1])
    agent.learn(Budget(episodes=1), collect)
    assert agent.steps == 2 * (3 * 2 + 1)
    for position in (1, 2):
        rewards = [reward for place, reward in tried if place == position]
        # Six candidates, then the step, which pays just what its trial did.
        assert rewards[6] == max(rewards[:6])


def test_greedy_finds_the_best_counts_of_the_toy():
    env = FixedToy()
    observation, _ = env.reset()
    agent = agents.make("greedy", env, ratios=[k / 8 for k in range(1, 9)], durations=[0.1, 0.3])
    ended = False
    while not ended:
        action = agent.act(observation)
        assert (action["mask"] == env.best_mask()).all()
        assert action["duration"] == np.float32(0.3)
        observation, _, ended, _, _ = env.step(action)


@pytest.mark.parametrize(
    "options", [{"ratios": []}, {"ratios": 0.5}, {"ratios": [0]}, {"durations": [2]}]
)
def test_greedy_refuses_bad_candidates(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("greedy", ToyPruning(), **options)


@pytest.mark.float
def test_evolution_acts_as_its_best_individual():
    env = FixedToy()
    agent = agents.make("evolution", env, population=4)
    observation, _ = env.reset()
    assert agent.act(observation)["mask"].sum() == 4  # the mean: half
    collect = Collect()
    agent.learn(Budget(episodes=20), collect)
    paid = [sum(info["reward"] for info in infos) for infos in collect.infos]
    observation, _ = env.reset()
    for mask in collect.episodes[int(np.argmax(paid))]:
        action = agent.act(observation)
        assert (action["mask"] == mask).all()
        observation, *_ = env.step(action)


def test_evolution_begins_at_the_ratio_of_the_target(make_tiny_env):
    env = make_tiny_env(target={"macs": 0.5})
    agent = agents.make("evolution", env, population=4)
    assert agent.best.tolist() == [env.ratio_for_target()] * 2


def test_evolution_forgets_the_values_of_a_warm_start():
    class Richer(FixedToy):
        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, reward + 100, *rest

    env, collect = FixedToy(), Collect()
    agent = agents.make("evolution", Richer(), population=4)
    agent.learn(Budget(episodes=3))
    before = agent.best
    agent.env = env
    agent.learn(Budget(episodes=1), collect)
    assert (agent.best != before).any()
    # It acts as the one individual of the second environment did.
    observation, _ = env.reset()
    for mask in collect.episodes[0]:
        action = agent.act(observation)
        assert (action["mask"] == mask).all()
        observation, *_ = env.step(action)


def test_evolution_refuses_the_files_of_another_search(tmp_path):
    agent = agents.make("evolution", ToyPruning(), population=4)
    agent.learn(Budget(episodes=3))
    agent.save(tmp_path)
    with pytest.raises(WeightsError, match="drew different individuals"):
        agents.make("evolution", ToyPruning(), seed=1, population=4).load(tmp_path)
    with pytest.raises(WeightsError, match="search in another network"):
        agents.make("evolution", ToyPruning(layers=2), population=4).load(tmp_path)


def test_evolution_without_its_library_names_the_remedy(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name == "cmaes":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(PruneGymError, match=r"pip install prune-gym\[evolution\]"):
        agents.make("evolution", ToyPruning())


@pytest.mark.parametrize(
    "options",
    [{"least": 0}, {"keep": 0.01}, {"spread": 0}, {"population": 3}, {"duration": 2}],
)
def test_evolution_refuses_bad_options(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("evolution", ToyPruning(), **options)
