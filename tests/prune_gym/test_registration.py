"""Registered ids: shipped baselines work immediately; other ids raise an error with the remedy."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env, data_equivalence

import prune_gym
from prune_gym.errors import DataError, WeightsError

FAST = {"eval_images": 64, "repair_images": 32, "max_epochs": 0.01, "threads": 1}
ALF = "PruneResNet20-ALF-v0"
SHIPPED = ["PruneResNet20-v0", "PrunePlain20-v0", ALF]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_ids_pass_the_checker(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make(name, **FAST)
        check_env(env.unwrapped, skip_render_check=True)
        env.close()
        env.close()


def test_resnet20_is_the_papers_size():
    env = gym.make("PruneResNet20-v0", **FAST)
    _, info = env.reset(seed=0)
    assert (info["params"], info["macs"]) == (269_722, 40_551_040)
    assert len(env.unwrapped.visited) == 12
    assert len(gym.make("PruneResNet20-v0", scope="inner", **FAST).unwrapped.visited) == 9
    assert env.action_space["mask"].n == 64


def test_the_alf_id_is_the_mode_of_the_other():
    env, other = gym.make(ALF, **FAST), gym.make("PruneResNet20-v0", action_mode="alf", **FAST)
    assert env.action_space == other.action_space
    assert set(env.action_space.spaces) == {"sparsity", "duration"}
    assert env.observation_space == other.observation_space
    assert len(env.unwrapped.visited) == 18
    assert len(gym.make(ALF, scope="all", **FAST).unwrapped.visited) == 19


def test_a_missing_baseline_names_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match="prune-gym pretrain --network resnet56"):
        gym.make("PruneResNet56-v0", **FAST)


def test_missing_cifar10_names_the_archive_and_where_it_belongs(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path))
    missing = tmp_path / "none"
    with pytest.raises(DataError) as caught:
        gym.make("PruneResNet20-CIFAR10-v0", dataset=f"cifar10:{missing}", **FAST)
    message = str(caught.value)
    assert f"{str(missing)!r} does not contain cifar-10-batches-bin" in message
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz" in message
    assert str(tmp_path / "data" / "cifar10") in message


@pytest.mark.parametrize(
    ("name", "mode"),
    [("PruneResNet20-v0", "sync"), ("PruneResNet20-v0", "async"), (ALF, "sync")],
)
def test_vector_environments(name, mode):
    options = {"context": "spawn"} if mode == "async" else {}
    envs = gym.make_vec(
        f"prune_gym:{name}",
        num_envs=2,
        vectorization_mode=mode,
        vector_kwargs=options,
        **FAST,
    )
    try:
        envs.reset(seed=[3, 4])
        envs.action_space.seed(0)
        batch = envs.action_space.sample()
        _, rewards, *_, info = envs.step(batch)
    finally:
        envs.close()
    single = gym.make(name, **FAST)
    for index in range(2):
        single.reset(seed=3 + index)
        action = {name: values[index] for name, values in batch.items()}
        _, reward, *_, alone = single.step(action)
        assert reward == pytest.approx(rewards[index])
        assert data_equivalence(
            np.asarray(alone["mask"]), np.asarray(info["mask"][index]), exact=True
        )


def test_ids_keep_their_names():
    assert set(SHIPPED) < set(prune_gym.environment_ids())
