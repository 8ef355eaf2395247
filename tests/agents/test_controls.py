"""The controls do what their names say."""

import numpy as np
import pytest

import agents
from agents.base import Budget, Callback


class Collect(Callback):
    def __init__(self):
        self.episodes = []

    def on_episode(self, number, env, infos):
        self.episodes.append([info["mask"] for info in infos])


def masks_of(name, env, episodes=1, **options):
    collect = Collect()
    agents.make(name, env, **options).learn(Budget(episodes=episodes), collect)
    return collect.episodes


def test_l1_keeps_the_largest_norms(make_tiny_env):
    env = make_tiny_env()
    ((first, _),) = masks_of("l1", env, keep=0.5)
    norms = env.task.module.first.weight.detach().abs().flatten(1).sum(1).numpy()
    assert sorted(np.argsort(norms)[-3:].tolist()) == np.flatnonzero(first).tolist()


def test_uniform_keeps_the_same_share_at_random(make_tiny_env):
    episodes = masks_of("uniform", make_tiny_env(), episodes=8, keep=0.5, duration=0)
    assert {int(masks[0].sum()) for masks in episodes} == {3}
    assert {int(masks[1].sum()) for masks in episodes} == {2}
    assert len({tuple(masks[0]) for masks in episodes}) > 1


def test_random_varies_the_share(make_tiny_env):
    episodes = masks_of("random", make_tiny_env(), episodes=12, duration=0)
    assert len({int(masks[0].sum()) for masks in episodes}) > 2


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": 1.5}, {"duration": -1}])
def test_bad_options(make_tiny_env, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("l1", make_tiny_env(), **options)


def test_l1_needs_the_features(make_tiny_env):
    with pytest.raises(ValueError, match="observation='features'"):
        masks_of("l1", make_tiny_env(observation="weights"))
