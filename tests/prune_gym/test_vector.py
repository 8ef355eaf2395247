"""Vector environments return the same values as single ones, and share their resources."""

import os
import subprocess
import sys
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import prune_gym  # noqa: F401 - registers the ids
from prune_gym.vector import make_vector, sb3_vec_env
from prune_gym.wrappers import MultiDiscreteAction

SMALL = {"eval_images": 20, "repair_images": 10, "threads": 1}
ID = "PruneResNet20-v0"


def rollout(env, steps=14, seed=3):
    """Observations, rewards and end flags of a random walk beyond the end of an episode."""
    trail = [env.reset(seed=seed)[0]]
    env.action_space.seed(seed)
    for _ in range(steps):
        action = env.action_space.sample()
        action["duration"][:] = 0
        observation, reward, terminated, truncated, _ = env.step(action)
        trail.append((observation, reward, terminated, truncated))
    env.close()
    env.close()
    return trail


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


def test_make_vec_shares_one_task():
    env = gym.make_vec(ID, num_envs=3, **SMALL)
    assert env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert len({id(single.baseline) for single in env.envs}) == 1
    env.close()


@pytest.fixture(scope="module")
def in_one_process():
    return rollout(gym.make_vec(ID, num_envs=2, **SMALL))


def test_one_process_is_gymnasiums_sync(in_one_process):
    sync = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", **SMALL)
    assert same(in_one_process, rollout(sync))


def test_sub_environments_do_not_disturb_each_other(in_one_process):
    both = gym.make_vec(ID, num_envs=2, **SMALL)
    both.action_space.seed(3)
    singles = [gym.make(ID, **SMALL) for _ in range(2)]
    for index, single in enumerate(singles):
        single.reset(seed=3 + index)
    for observation, reward, terminated, _ in in_one_process[1:10]:
        action = both.action_space.sample()
        action["duration"][:] = 0
        for index, single in enumerate(singles):
            own = {key: values[index] for key, values in action.items()}
            seen, paid, ended, *_ = single.step(own)
            assert all(np.array_equal(observation[key][index], seen[key]) for key in seen)
            assert (reward[index], terminated[index]) == (paid, ended)


SPAWNED = """
import gymnasium as gym, numpy as np
from prune_gym.errors import PruneGymError
from tests.prune_gym.test_vector import ID, SMALL, rollout, same

if __name__ == "__main__":
    one = rollout(gym.make_vec("prune_gym:" + ID, num_envs=2, **SMALL))
    workers = gym.make_vec("prune_gym:" + ID, num_envs=2, processes=True, **SMALL)
    assert same(one, rollout(workers))
    workers = gym.make_vec("prune_gym:" + ID, num_envs=2, processes=True, **SMALL)
    workers.reset(seed=0)
    action = workers.action_space.sample()
    action["duration"][:] = np.nan
    try:
        workers.step(action)
    except ValueError as error:
        assert "finite" in str(error), error
        print("the worker's error arrived")
    workers.close(terminate=True)
    workers = gym.make_vec("prune_gym:" + ID, num_envs=2, processes=True, **SMALL)
    workers.reset(seed=0)
    workers.processes[1].kill()
    workers.processes[1].join()
    try:
        workers.step(workers.action_space.sample())
    except PruneGymError as error:
        assert "sub-environment 1 (exit status -9) has ended" in str(error), error
        print("the worker's end was named")
    workers.close()
"""


def test_worker_processes_give_the_same_bits_and_their_errors(tmp_path):
    script = tmp_path / "spawned.py"
    script.write_text(SPAWNED)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    command = [sys.executable, str(script)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert "the worker's error arrived" in result.stdout
    assert "the worker's end was named" in result.stdout


def test_bad_numbers_are_refused():
    for count in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="num_envs"):
            make_vector(count, **SMALL)
    with pytest.raises(ValueError, match="num_envs"):
        sb3_vec_env(ID, 0, **SMALL)


def test_stable_baselines_steps_it():
    pytest.importorskip("stable_baselines3")
    wrapper = partial(MultiDiscreteAction, durations=2)
    env = sb3_vec_env(ID, 2, seed=5, wrappers=[wrapper], **SMALL)
    again = sb3_vec_env(ID, 2, seed=5, wrappers=[wrapper], **SMALL)
    assert env.envs[0].unwrapped.baseline is env.envs[1].unwrapped.baseline
    env.action_space.seed(0)
    first, second = env.reset(), again.reset()
    for _ in env.envs[0].unwrapped.visited:
        actions = np.array([env.action_space.sample() for _ in range(2)])
        actions[:, -1] = 0
        first, rewards, dones, infos = env.step(actions)
        second, others, *_ = again.step(actions)
        assert np.array_equal(rewards, others)
        assert same(dict(first), dict(second))
    assert dones.all()
    assert all("episode" in info and "accuracy" in info for info in infos)
    env.close()
