"""The whole-network agent: it compresses, meets targets, resumes, and is the same each time."""

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded

import agents
from agents.base import Budget, Callback
from prune_gym.alf import blocks
from prune_gym.alf.compress import codes_for_target
from prune_gym.alf.geometry import update_macs
from prune_gym.envs import FinishedNetwork, PruningEnv, Spent
from prune_gym.weights import tensors_of

OPTIONS = {"epochs": 3.0, "updates": 6}


@pytest.fixture
def make_env(residual_trained):
    network, dataset = residual_trained

    def make(**arguments):
        settings = {"action_mode": "alf", "eval_images": 64, "repair_images": 64, "threads": 1}
        settings |= {"batch_size": 32, "objective": "macs", "scope": "all"}
        return PruningEnv(network, dataset, **(settings | arguments))

    return make


class Follower(Callback):
    def __init__(self):
        self.infos, self.texts = [], []

    def on_episode(self, number, env, infos):
        self.infos.append(infos)

    def on_status(self, done, text):
        assert 0 < done <= 1
        self.texts.append(text)


def learned(env, episodes=1, seed=0, **options):
    agent, follower = agents.make("alf", env, seed=seed, **(OPTIONS | options)), Follower()
    agent.learn(Budget(episodes=episodes), follower)
    return agent, follower


@pytest.mark.float
def test_compresses_and_tells_of_every_layer(make_env):
    env = make_env()
    _, follower = learned(env, pr_max=0.7)
    (infos,) = follower.infos
    assert [info["position"] for info in infos] == list(range(1, len(env.visited) + 1))
    assert infos[-1]["macs_ratio"] > 1.3
    assert (
        infos[-1]["macs"]
        == env.baseline.cost_model(env.network.module, env.network.spaces).of().macs
    )
    assert env.search_macs_total == infos[-1]["search_macs"] > 0
    assert env.baseline.evaluate(env.network.module)[0] == infos[-1]["accuracy"]
    assert infos[-1]["accuracy"] > 0.5
    assert "codes" in follower.texts[-1]
    codes = [int(word) for word in follower.texts[-1].split("codes ")[1].split()]
    assert len(codes) == len(env.visited)


@pytest.mark.float
def test_meets_a_target(make_env):
    env = make_env(target={"macs": 0.5, "params": 0.6})
    _, follower = learned(env, epochs=0.25)
    assert follower.infos[0][-1]["target_met"]


@pytest.mark.float
def test_codes_are_clipped_and_repaired_before_the_first_image(make_env):
    env = make_env(target={"macs": 0.5})
    agent, texts = agents.make("alf", env, epochs=0.01), []
    assert agent.options.clips_first
    env.reset(seed=0)

    class Told(Callback):
        def on_status(self, done, text):
            texts.append(text)

    updates, macs = agent.compression.clip(Told().on_status)
    found = blocks(agent.module)
    assert updates == agent.options.first_updates
    layers = {layer.name: layer for layer in env.baseline.geometry.layers}
    assert macs > updates * sum(update_macs(layers[name]) for name in found)
    assert [text.split()[1].rstrip(",") for text in texts] == list(found)
    layers, target = agent.compression.layers, env.target
    repair = agent.compression.repair
    wanted = codes_for_target(env.baseline.module, layers, target.legal(), target.excess, repair)
    assert {name: block.codes_alive for name, block in found.items()} == wanted
    deployed = accepted(env, agent, macs)[-1]
    assert deployed["target_met"]
    # Without the repair the same codes compute something else.
    repaired = _distance(env)
    unrepaired = agents.make("alf", env, epochs=0.01)
    for block in blocks(unrepaired.module).values():
        for _ in range(updates):
            block.autoencoder_step()
        block.clip()
    env.reset(seed=0)
    accepted(env, unrepaired)
    assert repaired < 0.7 * _distance(env)


@torch.no_grad()
def _distance(env):
    """From the unpruned network's logits."""
    images = env.baseline.eval_images[:]
    return float((env.network.module(images) - env.baseline.module(images)).norm())


@pytest.mark.float
def test_codes_fall_during_the_training_where_asked_for(make_env):
    env = make_env()
    for options in ({"first_updates": 0}, {"from_scratch": True}):
        agent = agents.make("alf", env, **OPTIONS, **options)
        assert not agent.options.clips_first
        assert agent.compression.clip() == (0, 0)
        assert all(
            block.codes_alive == block.out_channels for block in blocks(agent.module).values()
        )
    agent, _ = learned(env, first_updates=0, pr_max=0.7)
    assert any(block.codes_alive < block.out_channels for block in blocks(agent.module).values())


@pytest.mark.float
def test_another_piece_of_training_goes_on(make_env):
    env = make_env()
    _, follower = learned(env, episodes=3, pr_max=0.7)
    assert len(follower.infos) == 3
    alive = [sum(info["codes"] for info in infos) for infos in follower.infos]
    assert alive[0] >= alive[1] >= alive[2]


@pytest.mark.float
def test_a_broken_search_ends_as_an_unbroken_one(make_env, tmp_path):
    env = make_env()
    whole, _ = learned(env, episodes=2)
    env = make_env()
    first, _ = learned(env, episodes=1)
    first.save(tmp_path)
    again = agents.make("alf", env, seed=0, **OPTIONS)
    again.load(tmp_path)
    again.learn(Budget(episodes=2))
    one, other = tensors_of(whole.module), tensors_of(again.module)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_from_scratch_forgets_the_trained_weights(make_env):
    env = make_env()
    agent = agents.make("alf", env, from_scratch=True, **OPTIONS)
    trained = tensors_of(env.baseline.module)
    fresh = {name: tensor for name, tensor in tensors_of(agent.module).items() if name in trained}
    assert fresh
    changed = [name for name in fresh if not torch.equal(fresh[name], trained[name])]
    assert "head.weight" in changed
    same = agents.make("alf", env, from_scratch=True, **OPTIONS)
    assert torch.equal(agent.module.head.weight, same.module.head.weight)
    assert not torch.equal(
        agent.module.head.weight,
        agents.make("alf", env, seed=1, from_scratch=True, **OPTIONS).module.head.weight,
    )


def test_acting_asks_for_its_sparsity(make_env):
    env = make_env()
    agent = agents.make("alf", env, pr_max=0.6)
    observation, _ = env.reset(seed=0)
    action = agent.act(observation)
    assert env.action_space.contains(action)
    assert np.isclose(action["sparsity"], 0.6)


def test_bad_values(make_env, make_tiny_env):
    for options, message in (
        ({"pr_max": 2}, "pr_max=2"),
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": -1}, "learning_rate=-1"),
        ({"distillation": 1.5}, "distillation=1.5"),
        ({"from_scratch": "yes"}, "from_scratch='yes'"),
        ({"updates": 0}, "updates=0"),
        ({"first_updates": -1}, "first_updates=-1"),
        ({"nothing": 1}, "nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            agents.make("alf", make_env(), **options)
    with pytest.raises(ValueError, match=r"works in action_mode='alf', not in 'filters'"):
        agents.make("alf", make_tiny_env())


def test_taking_over_needs_the_mode_and_a_fresh_episode(make_env, make_tiny_env):
    env = make_env()
    agent = agents.make("alf", env)
    env.reset(seed=0)
    accepted(env, agent)
    with pytest.raises(ResetNeeded, match="reset"):
        accepted(env, agent)
    other = make_tiny_env()
    other.reset(seed=0)
    with pytest.raises(ValueError, match="does not visit"):
        accepted(other, agent)
    env.reset(seed=0)
    network = FinishedNetwork(env.baseline.module, env.baseline.network.spaces, {})
    with pytest.raises(ValueError, match="no block for"):
        env.accept(network, Spent(0, 0))
    assert blocks(agent.module)


def accepted(env, agent, macs=0):
    """The infos of the agent's network as the environment accepts it."""
    network = agent.compression.deployed(0, env.target.hold)
    return env.accept(network, Spent(0, macs))
