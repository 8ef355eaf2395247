# ruff: noqa: NPY002 - the library draws from NumPy's global generator, so tests look at it
"""The agents on Stable-Baselines3 learn, keep to their budgets, and can be saved and loaded."""

import random
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import agents
from agents.base import Budget, Callback
from agents.toy import ToyPruning
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.weights import tensors_of
from tests.agents.helpers import ContrastToy, mean_reward

NAMES = ("ppo", "a2c", "maskable_ppo", "sac", "td3", "ddpg")
ON_POLICY = NAMES[:3]
# Small, so that a test takes a second: rollouts of two episodes, little to warm up.
SMALL = {
    "ppo": {"n_epochs": 2, "rollout_episodes": 2, "minibatches": 1, "hidden": 8},
    "a2c": {"rollout_episodes": 2, "hidden": 8},
    "maskable_ppo": {"n_epochs": 2, "rollout_episodes": 2, "minibatches": 1, "hidden": 8},
    "sac": {"warmup_episodes": 1, "batch_size": 8, "hidden": 8, "buffer_size": 20},
    "td3": {"warmup_episodes": 1, "batch_size": 8, "hidden": 8, "buffer_size": 20},
    "ddpg": {"warmup_episodes": 1, "batch_size": 8, "hidden": 8, "buffer_size": 20},
}


class Watch(Callback):
    """Records an agent's reports and checks the environment's state."""

    def __init__(self):
        self.trials, self.episodes, self.updates, self.checkpoints = [], [], [], 0

    def on_trial(self, reward, info):
        self.trials.append((reward, info["position"]))

    def on_episode(self, number, env, infos):
        assert number == len(self.episodes)
        assert env.unwrapped.position == env.unwrapped.layers
        assert [info["position"] for info in infos] == [1, 2, 3]
        assert all(info["reward"] == pytest.approx(sum(info["rewards"].values())) for info in infos)
        assert all(0 <= info["duration"] <= 1 for info in infos)
        self.episodes.append(infos)

    def on_update(self, metrics):
        assert all(isinstance(value, float) for value in metrics.values())
        self.updates.append(metrics)

    def on_checkpoint(self, agent):
        self.checkpoints += 1


def small(name, seed=0, env=None):
    return agents.make(name, env or ToyPruning(), seed=seed, **SMALL[name])


def same(one, two):
    first, second = tensors_of(one.model.policy), tensors_of(two.model.policy)
    assert first.keys() == second.keys()
    return all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_budget_and_callbacks(name):
    watch = Watch()
    env = ToyPruning()
    small(name, env=env).learn(Budget(episodes=5), watch)
    assert len(watch.episodes) == 5
    assert len(watch.trials) == 15
    assert env.search_macs_total == 15
    assert watch.checkpoints == 5
    assert len(watch.updates) >= 2
    assert any("loss" in key for key in watch.updates[0])


@pytest.mark.parametrize(
    ("budget", "episodes"),
    [({"steps": 4}, 2), ({"search_macs": 6}, 2), ({"seconds": 1e-9}, 0), ({"episodes": 1}, 1)],
)
@pytest.mark.parametrize("name", ["a2c", "td3"])
def test_budgets_end_the_search(name, budget, episodes):
    watch = Watch()
    small(name).learn(Budget(**budget), watch)
    assert len(watch.episodes) == episodes


@pytest.mark.float
@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_policy_whatever_else_draws_numbers(name):
    def trained(seed, noise):
        agent = small(name, seed)
        torch.manual_seed(noise)
        np.random.seed(noise)
        random.seed(noise)
        agent.learn(Budget(episodes=4))
        return agent

    one = trained(0, 1)
    drawn = torch.rand(1), np.random.rand(), random.random()
    two, other = trained(0, 2), trained(1, 1)
    assert same(one, two)
    assert not same(one, other)
    # The process's own generators stay what they were.
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    assert drawn == (torch.rand(1), np.random.rand(), random.random())


class Broken(Callback):
    """Saves an agent at its third checkpoint, with the environment's random generator."""

    def __init__(self, folder):
        self.folder, self.random = folder, None

    def on_checkpoint(self, agent):
        if agent.episodes == 3:
            agent.save(self.folder)
            self.random = agent.env.np_random.bit_generator.state


@pytest.mark.float
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_search_ends_as_an_unbroken_one(name, tmp_path):
    """On-policy rollouts hold two episodes: the third has begun one when it is saved."""
    whole, broken = small(name), Broken(tmp_path)
    whole.learn(Budget(episodes=6), broken)
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    second = small(name, seed=0)
    second.learn(Budget(episodes=1))  # to be overwritten
    second.env = ToyPruning()
    second.load(tmp_path)
    second.env.np_random.bit_generator.state = broken.random
    second.learn(Budget(episodes=6))
    assert second.episodes == 6
    assert same(whole, second)
    observation, info = second.env.reset(seed=0)
    one, two = (agent.act(observation, info) for agent in (whole, second))
    assert (one["mask"] == two["mask"]).all()
    assert one["duration"] == two["duration"]


@pytest.mark.float
@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_learning_in_two_parts_is_learning_at_once(name):
    whole, parts = small(name), small(name)
    whole.learn(Budget(episodes=5))
    parts.learn(Budget(episodes=3))
    parts.learn(Budget(episodes=5))
    assert same(whole, parts)


# td3 is ddpg with a second critic here; the wait is spared.
@pytest.mark.float
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "td3" else n for n in NAMES],
)
def test_learns_and_beats_random_at_equal_budget(name):
    """The mean of three seeds; its margin was measured on 8 seeds."""
    off_policy = {"gamma": 0.0, "hidden": 32, "batch_size": 32}
    # Episodes, options, and the reward to exceed: four standard errors below the mean of the seeds,
    # which is given; for a2c, whose rewards are skewed, less than the worst of them (0.47).
    settings = {
        "ppo": (30, {"learning_rate": 0.01, "hidden": 32, "minibatches": 2}, 0.57),  # 0.81
        "a2c": (60, {"learning_rate": 0.01, "hidden": 32}, 0.4),  # 0.61
        "maskable_ppo": (40, {"learning_rate": 0.01, "hidden": 32, "minibatches": 1}, 0.52),  # 0.73
        "sac": (40, off_policy | {"updates": 1, "learning_rate": 0.003}, 0.58),  # 0.74
        "td3": (50, off_policy | {"noise": 0.3}, 0.43),  # 0.64
        "ddpg": (50, off_policy | {"noise": 0.3, "actor_share": 0.3}, 0.5),  # 0.64
    }
    episodes, options, wanted = settings[name]
    before, after, drawn = [], [], []
    for seed in range(3):
        agent = agents.make(name, ContrastToy(), seed=seed, **options)
        before.append(mean_reward(agent, ContrastToy(), episodes=1))
        agent.learn(Budget(episodes=episodes))
        after.append(mean_reward(agent, ContrastToy(), episodes=1))
        control = agents.make("random", ContrastToy(), seed=seed)
        control.learn(Budget(episodes=episodes))
        drawn.append(mean_reward(control, ContrastToy()))
    assert np.mean(before) < wanted < np.mean(after), (before, after)
    assert np.mean(drawn) < wanted, drawn


def test_damaged_and_strange_files(tmp_path):
    agent = small("ppo")
    with pytest.raises(WeightsError, match="Cannot read the policy"):
        agent.load(tmp_path)
    agent.save(tmp_path)
    with pytest.raises(WeightsError, match="of the agent 'ppo', not of 'a2c'"):
        small("a2c").load(tmp_path)
    with pytest.raises(WeightsError, match="do not fit"):
        agents.make("ppo", ToyPruning(), hidden=16).load(tmp_path)
    (tmp_path / "training.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="damaged"):
        agent.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("ppo", {"minibatches": 3}, "minibatches=3 must divide"),
        ("ppo", {"learning_rate": 0}, "learning_rate=0"),
        ("a2c", {"initial_keep": 1}, "initial_keep=1"),
        ("a2c", {"gamma": 1.5}, "gamma=1.5"),
        ("maskable_ppo", {"durations": 1}, "durations=1"),
        ("sac", {"warmup_episodes": 0}, "warmup_episodes=0"),
        ("sac", {"criterion": "taylor"}, "ToyPruning does not have"),
        ("td3", {"noise": -1}, "noise=-1"),
        ("ddpg", {"noises": 1}, "noises"),
    ],
)
def test_bad_hyperparameters(name, options, word):
    with pytest.raises(ValueError, match=word):
        agents.make(name, ToyPruning(), **options)


def test_without_stable_baselines3_the_error_says_what_to_install(monkeypatch):
    for module in [name for name in sys.modules if name.startswith("agents.sb3.")]:
        if module not in ("agents.sb3.agents", "agents.sb3.options"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(PruneGymError, match=r"pip install prune-gym\[sb3\]"):
        agents.make("ppo", ToyPruning())


@pytest.mark.parametrize("observation", ["features", "weights"])
@pytest.mark.parametrize("name", NAMES)
def test_learns_in_the_real_environment(make_tiny_env, name, observation):
    env = make_tiny_env(observation=observation)
    agent = small(name, env=env)
    before = {key: tensor.clone() for key, tensor in tensors_of(agent.model.policy).items()}
    agent.learn(Budget(episodes=4))
    after = tensors_of(agent.model.policy)
    assert any(not torch.equal(before[key], after[key]) for key in before)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
    observed, info = env.reset(seed=0)
    assert env.action_space.contains(agent.act(observed, info))


def test_a_warm_start_elsewhere_leaves_no_partial_rollout():
    agent = small("ppo")
    agent.learn(Budget(episodes=3))
    agent.env = ToyPruning()
    watch = Watch()
    agent.learn(Budget(episodes=3), watch)
    # With the begun rollout of the other environment there would be two updates.
    assert len(watch.updates) == 1
