"""The controls do what their names say."""

import numpy as np
import pytest

import agents
from agents.base import Budget
from agents.toy import ToyPruning
from tests.agents.helpers import Collect


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
