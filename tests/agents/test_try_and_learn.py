"""Try and learn: one agent a layer, only filters, a fixed duration."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

import agents
from agents.base import Budget
from agents.common.filters import Reader
from agents.toy import ToyPruning
from agents.try_and_learn import LayerAgent, TryAndLearnOptions
from prune_gym.errors import WeightsError
from prune_gym.weights import tensors_of


def test_each_layer_has_an_agent_of_its_own():
    env = ToyPruning()
    agent = agents.make("try_and_learn", env, samples=3, updates=1)
    before = [{n: t.clone() for n, t in tensors_of(own).items()} for own in agent.agents]
    observation, _ = env.reset(seed=0)
    observation, *_ = env.step(env.best_action())  # the second layer
    agent.decide(observation, agents.base.Callback())
    changed = [
        any(not torch.equal(old[name], new[name]) for name in old)
        for old, new in zip(before, map(tensors_of, agent.agents), strict=True)
    ]
    assert changed == [False, True, False]


@pytest.mark.float
def test_padding_changes_nothing_and_equal_rewards_teach_nothing():
    env = ToyPruning()
    env.reset(seed=0)
    env.position = 3
    observation = env._next()  # 5 filters, 3 padded
    bits = torch.rand(4, 8) < 0.5
    results = []
    for flip, rewards in ((False, [0, 1, 2, 3]), (True, [0, 1, 2, 3]), (False, [1, 1, 1, 1])):
        agent = agents.make("try_and_learn", env)
        inputs = agent.read(observation)
        chosen = torch.where(inputs.valid, bits, bits ^ flip)
        agent.update(1, inputs, chosen, torch.tensor(rewards).float())
        results.append(tensors_of(agent.agents))
    untrained = tensors_of(agents.make("try_and_learn", env).agents)
    one, two, equal = results
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], untrained[name]) for name in one)
    assert all(torch.equal(equal[name], untrained[name]) for name in one)


def test_the_duration_is_fixed():
    env = ToyPruning()
    observation, _ = env.reset(seed=0)
    for duration in (0, 0.25, 1):
        agent = agents.make("try_and_learn", env, duration=duration, samples=2, updates=1)
        tried = [agent.decide(observation, agents.base.Callback())[0] for _ in range(3)]
        assert {float(action["duration"][0]) for action in tried} == {float(np.float32(duration))}


@pytest.mark.float
@pytest.mark.parametrize("width", [16, 40])
def test_large_arrays_go_through_convolutions(width):
    space = spaces.Dict(
        {
            "action_mask": spaces.MultiBinary(width),
            "layer": spaces.Box(0, 1, (2,), np.float32),
            "weights": spaces.Box(-10, 10, (width * 20,), np.float32),
        }
    )
    read = Reader(space)
    policy = LayerAgent(read.width, read.row, TryAndLearnOptions(initial_keep=0.7))
    assert sum(isinstance(layer, torch.nn.Conv2d) for layer in policy.layers) == 4
    inputs = read(space.sample())
    assert policy(inputs).probs.shape == (width,)
    assert torch.allclose(policy(inputs).probs, torch.tensor(0.7))


def test_small_arrays_go_through_dense_layers_alone():
    policy = LayerAgent(64, 6, TryAndLearnOptions())
    assert not any(isinstance(layer, torch.nn.Conv2d) for layer in policy.layers)


@pytest.mark.parametrize("observation", ["features", "weights"])
def test_learns_in_the_real_environment(make_tiny_env, observation, tmp_path):
    agent = agents.make("try_and_learn", make_tiny_env(observation=observation), updates=1)
    before = {name: tensor.clone() for name, tensor in tensors_of(agent.agents).items()}
    agent.learn(Budget(episodes=1))
    after = tensors_of(agent.agents)
    assert any(not torch.equal(before[name], after[name]) for name in before)
    agent.save(tmp_path)
    with pytest.raises(WeightsError, match="do not fit"):
        agents.make("try_and_learn", agent.env, hidden=3).load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"samples": 1}, {"updates": 0}, {"learning_rate": 0}, {"initial_keep": 1}, {"duration": 2}],
)
def test_bad_hyperparameters_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        agents.make("try_and_learn", ToyPruning(), **options)
