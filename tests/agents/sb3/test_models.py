"""Stable-Baselines3's own callbacks, vector environments and tools work with ours unchanged."""

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

import stable_baselines3 as sb3
from sb3_contrib import MaskablePPO
from stable_baselines3.common.callbacks import (
    CheckpointCallback,
    EvalCallback,
    StopTrainingOnMaxEpisodes,
)
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

import agents
from agents.sb3.models import make_model
from agents.sb3.policy import HybridPolicy
from agents.toy import ToyPruning
from prune_gym.wrappers import FlatBoxAction, adapt

KINDS = {
    "ppo": (sb3.PPO, "flat_box"),
    "a2c": (sb3.A2C, "flat_box"),
    "maskable_ppo": (MaskablePPO, "masked_multi_discrete"),
    "sac": (sb3.SAC, "keep_ratio"),
    "td3": (sb3.TD3, "keep_ratio"),
    "ddpg": (sb3.DDPG, "keep_ratio"),
}


@pytest.mark.parametrize("name", KINDS)
def test_stock_callbacks_on_two_environments(name, tmp_path):
    kind, form = KINDS[name]
    keywords = ("accuracy",)
    envs, other = (
        make_vec_env(
            lambda: adapt(ToyPruning(), form),
            count,
            seed=0,
            monitor_kwargs={"info_keywords": keywords},
        )
        for count in (2, 1)
    )
    model = make_model(name, envs, seed=0, hidden=8)
    assert isinstance(model, kind)
    callbacks = [CheckpointCallback(30, str(tmp_path)), StopTrainingOnMaxEpisodes(20)]
    if name != "maskable_ppo":  # sb3-contrib has an EvalCallback of its own
        callbacks.append(EvalCallback(other, eval_freq=12, n_eval_episodes=2, verbose=0))
    model.learn(10_000, callback=callbacks)
    assert model.num_timesteps == 20 * 2 * 3  # it counts episodes for each environment
    assert list(tmp_path.glob("*.zip"))
    assert all(set(keywords) < set(episode) for episode in model.ep_info_buffer)
    if name != "maskable_ppo":
        mean, _ = evaluate_policy(model, other, n_eval_episodes=3)
        assert -3 < mean <= 3


def test_the_policy_in_stable_baselines3s_own_words(tmp_path):
    env = Monitor(FlatBoxAction(ToyPruning()))
    model = sb3.PPO(HybridPolicy, env, n_steps=12, batch_size=12, seed=0, device="cpu")
    model.learn(24)
    model.save(tmp_path / "ppo.zip")
    loaded = sb3.PPO.load(tmp_path / "ppo.zip", device="cpu")
    observation, _ = env.reset(seed=0)
    one, _ = model.predict(observation, deterministic=True)
    two, _ = loaded.predict(observation, deterministic=True)
    assert (one == two).all()
    assert env.action_space.contains(one)


@pytest.mark.parametrize("name", KINDS)
def test_the_zip_is_written_on_request(name, tmp_path):
    options = {"hidden": 8}
    agent = agents.make(name, ToyPruning(), **options)
    path = agent.export_zip(tmp_path / "model.zip")
    loaded = KINDS[name][0].load(path, device="cpu")
    for key, tensor in agent.model.policy.state_dict().items():
        assert torch.equal(tensor, loaded.policy.state_dict()[key])


def test_options_reach_the_algorithm():
    env = adapt(ToyPruning(), "keep_ratio")
    model = make_model("ddpg", env, learning_rate=0.01, actor_share=0.2, updates=4, noise=0.5)
    assert model.gradient_steps == 12
    assert model.action_noise._sigma.tolist() == [0.5, 0.5]
    model.learn(36)  # ten episodes warm up
    rates = [group["lr"] for group in model.actor.optimizer.param_groups]
    assert rates == pytest.approx([0.002])
    assert model.critic.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="Did you mean 'ddpg'"):
        make_model("dpg", env)
    assert np.isfinite(model.replay_buffer.rewards).all()
