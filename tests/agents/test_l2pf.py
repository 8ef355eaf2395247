"""L2PF learns both tasks, leaves padding out, and is the same agent for the same seed."""

import numpy as np
import pytest
import torch

import agents
from agents.base import Budget, Callback
from agents.l2pf import L2PF
from agents.l2pf.trials import Draw, Trial
from agents.toy import BEST_DURATION, WIDTH, ToyPruning
from prune_gym.errors import WeightsError
from prune_gym.weights import tensors_of


def right_bits(agent, env, episodes=20):
    """Share of right bits and mean duration of the deterministic policy on new layers."""
    shares, durations = [], []
    for episode in range(episodes):
        observation, info = env.reset(seed=1000 + episode)
        ended = False
        while not ended:
            action = agent.act(observation, info, deterministic=True)
            valid = env.valid.astype(bool)
            shares.append((action["mask"] == env.best_mask())[valid].mean())
            durations.append(float(action["duration"][0]))
            observation, _, ended, _, info = env.step(action)
    return np.mean(shares), np.mean(durations)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learns_filters_and_duration(seed):
    env = ToyPruning()
    agent = L2PF(env, seed=seed, candidates=8, updates=4, learning_rate=5e-3)
    before, _ = right_bits(agent, env)
    agent.learn(Budget(episodes=80))
    after, duration = right_bits(agent, env)
    assert before < 0.7
    assert after > 0.9
    assert abs(duration - BEST_DURATION) < 0.12


def test_same_seed_same_policy_to_the_bit():
    def trained(seed):
        agent = L2PF(ToyPruning(), seed=seed)
        agent.learn(Budget(episodes=3))
        return tensors_of(agent.policy)

    one, two, other = trained(0), trained(0), trained(1)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def trials_of(inputs, draws, rewards):
    """One trial of one layer for each (bits, log-duration)."""
    drawn = [Draw(inputs, bits, time) for bits, time in draws]
    return [Trial([draw], own) for draw, own in zip(drawn, rewards, strict=True)]


def test_padding_changes_neither_likelihood_nor_gradient():
    env = ToyPruning()
    observation, _ = env.reset(seed=0)
    env.position = 3
    observation = env._next()  # 5 filters, 3 padded
    inputs = L2PF(env, seed=0).read(observation)
    draws = [(torch.rand(WIDTH) < 0.5, torch.tensor(-1.0)) for _ in range(4)]
    flipped = [(torch.where(inputs.valid, bits, ~bits), time) for bits, time in draws]
    rewards = [{"prune": float(i), "duration": -float(i)} for i in range(4)]
    results = []
    for chosen in (draws, flipped):
        fresh = L2PF(env, seed=0)
        fresh.update(trials_of(inputs, chosen, rewards))
        results.append(tensors_of(fresh.policy))
    one, two = results
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_equal_rewards_teach_nothing():
    env = ToyPruning()
    observation, _ = env.reset(seed=0)
    agent = L2PF(env, seed=0, entropy_bonus=0.0)
    before = tensors_of(agent.policy)
    before = {name: tensor.clone() for name, tensor in before.items()}
    draws = [(torch.rand(WIDTH) < 0.5, torch.tensor(-1.0)) for _ in range(4)]
    rewards = [{"prune": 0.5, "duration": 0.5}] * 4
    agent.update(trials_of(agent.read(observation), draws, rewards))
    after = tensors_of(agent.policy)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_save_and_load(tmp_path):
    env = ToyPruning()
    agent = L2PF(env, seed=0)
    agent.learn(Budget(episodes=2))
    agent.save(tmp_path)
    other = L2PF(env, seed=5)
    other.load(tmp_path)
    observation, _ = env.reset(seed=0)
    one = agent.act(observation, deterministic=True)
    two = other.act(observation, deterministic=True)
    assert (one["mask"] == two["mask"]).all()
    assert (one["duration"] == two["duration"]).all()
    with pytest.raises(WeightsError, match="do not fit"):
        L2PF(env, hidden=8).load(tmp_path)


def test_budgets_end_the_search():
    class Count(Callback):
        episodes = trials = 0

        def on_trial(self, reward, info):
            self.trials += 1

        def on_episode(self, number, env, infos):
            self.episodes += 1

    for budget, episodes in [
        (Budget(episodes=2), 2),
        (Budget(steps=1), 1),
        (Budget(search_macs=40), 2),
        (Budget(seconds=1e-9), 0),
    ]:
        count = Count()
        L2PF(ToyPruning(), candidates=4, updates=3).learn(budget, count)
        assert count.episodes == episodes
        assert count.trials == episodes * 3 * (4 * 3 + 1)
    with pytest.raises(ValueError, match="at least one limit"):
        Budget()
    with pytest.raises(ValueError, match="steps=-1"):
        Budget(steps=-1)


@pytest.mark.parametrize(
    "options", [{"candidates": 1}, {"updates": 0}, {"initial_keep": 1}, {"learning_rate": 0}]
)
def test_bad_hyperparameters_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("l2pf", ToyPruning(), **options)


def test_unknown_agents_and_options():
    with pytest.raises(ValueError, match="Did you mean 'l2pf'"):
        agents.make("l2fp", ToyPruning())
    with pytest.raises(ValueError, match="candidate"):
        agents.make("l2pf", ToyPruning(), candidate=3)
    assert isinstance(agents.make("agents.l2pf:L2PF", ToyPruning()), L2PF)


@pytest.mark.parametrize("observation", ["features", "weights"])
def test_learns_in_the_real_environment(make_tiny_env, observation):
    env = make_tiny_env(observation=observation)
    agent = L2PF(env, candidates=3, updates=2)
    before = {name: tensor.clone() for name, tensor in tensors_of(agent.policy).items()}
    agent.learn(Budget(episodes=2))
    after = tensors_of(agent.policy)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert all(torch.isfinite(tensor).all() for tensor in after.values())
