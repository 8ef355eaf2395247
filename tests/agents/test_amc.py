"""AMC: states, exploration, rewards, and its learner."""

import math

import numpy as np
import pytest
import torch

import agents
from agents.amc.agent import STATE
from agents.amc.ddpg import DDPG, Memory
from agents.amc.options import AMCOptions
from agents.base import Budget, Callback
from agents.toy import ToyPruning
from prune_gym.envs.observation import LAYER_FEATURES


def test_the_state_has_amcs_ten_entries(make_tiny_env):
    env = make_tiny_env()
    observation, _ = env.reset(seed=0)
    agent = agents.make("amc", env)
    state = agent._state(observation)
    assert state.shape == (10,)
    named = dict(zip(LAYER_FEATURES, observation["layer"], strict=True))
    assert dict(zip(STATE, state, strict=True)) == {name: named[name] for name in STATE}


def test_the_reward_is_the_error_where_a_cost_is_wanted(make_tiny_env):
    infos = [
        {"reward": 0.5, "accuracy": 0.9, "macs": 100},
        {"reward": 0.25, "accuracy": 0.8, "macs": 50},
    ]
    free, bound = make_tiny_env(), make_tiny_env(target={"macs": 0.6})
    assert agents.make("amc", free).episode_reward(infos) == 0.75
    assert agents.make("amc", bound).episode_reward(infos) == pytest.approx(-0.2)
    assert agents.make("amc", ToyPruning()).episode_reward(infos) == 0.75
    own = agents.make("amc", free, reward="error_macs")
    assert own.episode_reward(infos) == pytest.approx(-0.2 * math.log(50))


def test_a_step_of_an_episode_gets_the_episodes_reward():
    agent = agents.make("amc", ToyPruning(), warmup_episodes=5)

    sums = []

    class Sums(Callback):
        def on_episode(self, number, env, infos):
            sums.append(sum(info["reward"] for info in infos))

    agent.learn(Budget(episodes=2), Sums())
    kept = agent.learner.memory.tensors()
    assert kept["rewards"][:, 0].tolist() == pytest.approx([sums[0]] * 3 + [sums[1]] * 3)
    assert kept["ended"][:, 0].tolist() == [0, 0, 1, 0, 0, 1]
    assert torch.equal(kept["states"][1:3], kept["following"][0:2])


def test_warm_up_draws_evenly_and_learns_nothing():
    env = ToyPruning()
    agent = agents.make("amc", env, warmup_episodes=60, hidden=8, batch_size=4)
    before = [p.clone() for p in agent.learner.actor.parameters()]
    agent.learn(Budget(episodes=60))
    actions = agent.learner.memory.tensors()["actions"][:, 0].numpy()
    assert np.histogram(actions, 4, (0, 1))[0].min() > 25  # of 180
    assert all(map(torch.equal, before, agent.learner.actor.parameters()))
    agent.learn(Budget(episodes=61))
    assert not all(map(torch.equal, before, agent.learner.actor.parameters()))


@pytest.mark.float
def test_noise_is_a_truncated_normal_that_fades():
    agent = agents.make("amc", ToyPruning(), warmup_episodes=1, noise_decay=0.5)
    for mean in (0.0, 0.3, 1.0):
        drawn = np.array([agent._noisy(mean) for _ in range(300)])
        assert drawn.min() >= 0
        assert drawn.max() <= 1
        # The mean of the truncated normal of standard deviation 0.5.
        assert abs(drawn.mean() - {0.0: 0.36, 0.3: 0.455, 1.0: 0.64}[mean]) < 0.05
    agent.played = 31
    assert agent._spread() == pytest.approx(0.5 * 0.5**30, abs=1e-6)
    assert abs(agent._noisy(0.3) - 0.3) < 1e-4
    assert agent._noisy(1.0) == pytest.approx(1, abs=1e-4)


@pytest.mark.float
def test_the_critic_learns_the_sum_of_rewards_minus_the_baseline():
    options = AMCOptions(
        hidden=32, critic_learning_rate=1e-2, tau=0.1, batch_size=32, baseline_decay=1.0
    )
    learner, random = DDPG(1, options, seed=0), np.random.default_rng(0)
    for action in np.linspace(0, 1, 20):
        # Two steps; only the second one's action counts, and it is best at 0.75.
        paid = 1 - abs(action - 0.75)
        learner.memory.add(np.zeros(1), 0.5, 0.0, np.ones(1), 0.0)
        learner.memory.add(np.ones(1), action, paid, np.ones(1), 1.0)
    learner.baseline = 0.25
    for _ in range(400):
        learner.update(random)
    with torch.no_grad():
        last = learner.critic(torch.ones(3, 1), torch.tensor([[0.0], [0.5], [0.75]]))[:, 0]
    assert last.tolist() == pytest.approx([0.0, 0.5, 0.75], abs=0.12)
    assert learner.baseline == 0.25


def test_the_memory_overwrites_the_oldest():
    memory = Memory(capacity=3, state=2)
    for number in range(5):
        memory.add(np.full(2, number), 0.1, float(number), np.zeros(2), 0.0)
    assert len(memory) == 3
    assert sorted(memory.tensors()["rewards"][:, 0].tolist()) == [2, 3, 4]
    again = Memory(capacity=3, state=2)
    again.set_tensors(memory.tensors(), memory.added)
    for both in (memory, again):
        both.add(np.zeros(2), 0.1, 9.0, np.zeros(2), 0.0)
    assert torch.equal(memory.tensors()["rewards"], again.tensors()["rewards"])


@pytest.mark.parametrize(
    "options",
    [
        {"warmup_episodes": 0},
        {"batch_size": 1.5},
        {"noise": 0},
        {"tau": 2},
        {"least": 1},
        {"reward": "accuracy"},
        {"criterion": "l3"},
    ],
)
def test_bad_hyperparameters_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("amc", ToyPruning(), **options)
