"""Evolution follows its best individual, and its files continue the same search only."""

import builtins

import numpy as np
import pytest

import agents
from agents.base import Budget
from agents.toy import ToyPruning
from prune_gym.errors import PruneGymError, WeightsError
from tests.agents.helpers import Collect, FixedToy


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
