"""Vector environments give what single ones give, and share what they say they share."""

import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

import prune_gym
from prune_gym.envs import PruningEnv
from prune_gym.errors import DataError, PruneGymError
from prune_gym.vector import copies, make_surrogate_vector, make_vector, sb3_vec_env
from prune_gym.vector.workers import WorkerError
from prune_gym.wrappers import MultiDiscreteAction

ID = "PruneResNet20-v0"
SMALL = {"eval_images": 20, "repair_images": 10, "max_epochs": 0.006, "threads": 1}
TINY = {"eval_images": 64, "repair_images": 64, "batch_size": 32, "max_epochs": 0.5, "threads": 1}
STEPS = 7  # episodes of two layers: over two ends and more


@pytest.fixture
def arguments(tiny_trained):
    """Of a small task of the user's own network and images."""
    network, dataset = tiny_trained
    return {"network": network, "dataset": dataset} | TINY


def rollout(env, end=None):
    """All that a seeded vector environment gives, with fine-tuning."""
    trail = [env.reset(seed=3)]
    env.action_space.seed(0)
    trail += [env.step(env.action_space.sample()) for _ in range(STEPS)]
    for _ in range(2):
        (end or env.close)()
    return trail


def same(one, other):
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return np.array_equal(one, other)


def whole(env):
    """An action that keeps all filters and trains nothing."""
    action = env.action_space.sample()
    return {"mask": np.ones_like(action["mask"]), "duration": np.zeros_like(action["duration"])}


# The same results


def test_both_backends_give_the_bits_of_gymnasiums_sync(arguments):
    sync = SyncVectorEnv([lambda: PruningEnv(**arguments)] * 2)
    expected = rollout(sync)
    assert any(step[2].any() for step in expected[1:])
    one, workers = make_vector(2, **arguments), make_vector(2, processes=2, **arguments)
    assert isinstance(one, SyncVectorEnv)
    assert isinstance(workers, AsyncVectorEnv)
    assert workers.observation_space == one.observation_space == sync.observation_space
    assert workers.action_space == one.action_space == sync.action_space
    assert same(rollout(one), expected)
    assert same(rollout(workers), expected)


@pytest.mark.parametrize("processes", [1, 2])
def test_seeds_are_those_of_single_environments(arguments, processes):
    env = make_vector(2, processes=processes, **arguments)
    env.action_space.seed(0)
    action = env.action_space.sample()
    action["duration"][:] = 1
    found = []
    for seed in (5, [5, 6], [6, 5]):
        env.reset(seed=seed)
        found.append(env.step(action)[4]["accuracy"])
    with pytest.raises(ValueError, match="num_envs=2"):
        env.reset(seed=[1])
    env.close()
    single = PruningEnv(**arguments)
    for row, seeds in ((0, (5, 6)), (1, (5, 6)), (2, (6, 5))):
        for index, seed in enumerate(seeds):
            single.reset(seed=seed)
            own = {name: values[index] for name, values in action.items()}
            assert single.step(own)[4]["accuracy"] == found[row][index]


def test_autoreset_modes(arguments):
    env = make_vector(2, autoreset_mode="SameStep", **arguments)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    env.reset(seed=0)
    env.step(whole(env))
    *_, infos = env.step(whole(env))
    assert infos["_final_info"].all()
    assert (infos["position"] == 0).all()
    env.close()


# What is shared


def test_one_process_has_one_task_also_of_the_users_own_objects(arguments):
    env = make_vector(3, **arguments)
    assert len({id(single.task) for single in env.envs}) == 1
    assert env.envs[0].task.dataset is arguments["dataset"]
    assert len({id(single.transition) for single in env.envs}) == 3
    assert env.envs[0].observation_space == env.envs[2].observation_space
    env.close()


def test_workers_see_the_callers_memory(arguments, monkeypatch):
    monkeypatch.setattr(copies, "SHARED_BYTES", 1)
    env = make_vector(2, processes=2, fast=False, **arguments)  # nothing is remembered
    before = _accuracy(env)
    task = env.env_fns[0].pruning.task
    assert task.eval_images.is_shared()
    # The caller turns all labels wrong, and the workers find no image classified right.
    task.eval_labels += 100
    assert (before > 0.5).all()
    assert (_accuracy(env) == 0).all()
    env.close()


def _accuracy(env):
    env.reset(seed=0)
    return env.step(whole(env))[4]["accuracy"]


def test_copies_name_their_images_and_refuse_others(monkeypatch):
    env = gym.make(ID, **SMALL).unwrapped
    contents = pickle.dumps(env)
    assert len(contents) < 8 << 20 < env.task.train_split.images.nbytes
    again = pickle.loads(contents)
    assert again.task.train_split.images.data_ptr() == env.task.train_split.images.data_ptr()
    monkeypatch.setattr(env.task, "dataset", _relabelled(env.task.dataset))
    with pytest.raises(DataError, match="Make the environment again"):
        pickle.loads(pickle.dumps(env))


def _relabelled(dataset):
    from dataclasses import replace

    return replace(dataset, fingerprint="0" * 64)


def test_the_callers_threads_stay(arguments):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        env = make_vector(2, processes=2, **arguments)
        assert torch.get_num_threads() == 3
        assert env.get_attr("threads") == (1, 1)
        env.close()
    finally:
        torch.set_num_threads(before)


# The ids


@pytest.mark.parametrize("name", prune_gym.environment_ids())
def test_every_id_has_a_vector_entry_point(name):
    assert gym.spec(name).vector_entry_point.startswith("prune_gym.vector:make")


def test_make_vec_takes_our_entry_point_and_gymnasiums_modes():
    env = gym.make_vec(ID, num_envs=3, **SMALL)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert len({id(single.task) for single in env.envs}) == 1
    assert env.spec.id == ID
    actions = [{key: value[:2] for key, value in whole(env).items()}]
    sync = gym.make_vec(ID, num_envs=2, vectorization_mode="sync", **SMALL)
    assert sync.spec.kwargs["vectorization_mode"] == "sync"
    observations = [e.reset(seed=1)[0] for e in (env, sync)]
    rewards = [env.step(whole(env))[1][:2], sync.step(actions[0])[1]]
    assert np.array_equal(*rewards)
    assert same({k: v[:2] for k, v in observations[0].items()}, observations[1])
    env.close()
    sync.close()


def test_surrogates_vectorize(monkeypatch, arguments):
    made = []

    class Stand(PruningEnv):
        def __init__(self, **given):
            made.append(given)
            super().__init__(**given)

    monkeypatch.setattr("prune_gym.surrogate.env.SurrogateEnv", Stand)
    env = make_surrogate_vector(2, **arguments)
    assert [type(single) for single in env.envs] == [Stand, Stand]
    assert len(made) == 1
    env.close()


# Errors and ends


def test_bad_arguments_are_refused(arguments):
    for count in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match="num_envs"):
            make_vector(count, **arguments)
    for processes in (0, 2, True):
        with pytest.raises(ValueError, match="processes"):
            make_vector(3, processes=processes, **arguments)
    with pytest.raises(ValueError, match=r"start_method='fork' must be one of"):
        make_vector(2, processes=2, start_method="fork", **arguments)
    with pytest.raises(ValueError, match="eval_images=9999"):
        make_vector(2, processes=2, **arguments | {"eval_images": 9999})


def test_an_error_in_a_worker_is_raised_here(arguments):
    env = make_vector(2, processes=2, **arguments)
    env.reset(seed=0)
    action = whole(env)
    action["duration"][1] = np.nan
    with pytest.raises(ValueError, match="needed: one finite number") as caught:
        env.step(action)
    assert "In worker process 1:" in caught.value.__notes__[0]
    assert not any(process.is_alive() for process in env.processes)
    with pytest.raises(gym.error.ClosedEnvironmentError):
        env.step(whole(env))
    env.close()


def test_a_worker_that_is_killed_is_missed(arguments):
    env = make_vector(2, processes=2, **arguments)
    env.reset(seed=0)
    os.kill(env.processes[1].pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"exit codes: \[.*-9\]"):
        env.step(whole(env))
    assert not any(process.is_alive() for process in env.processes)
    env.close()
    quiet = make_vector(2, processes=2, **arguments)
    os.kill(quiet.processes[0].pid, signal.SIGKILL)
    quiet.close()
    assert not any(process.is_alive() for process in quiet.processes)


SCRIPT = """
import sys
import gymnasium as gym
from tests.prune_gym.envs.test_vector import ID, TINY, rollout, same
from tests.tiny import shake, tiny_dataset, tiny_network

if __name__ == "__main__":
    network = tiny_network()
    shake(network.module)
    arguments = {"num_envs": 2, "network": network, "dataset": tiny_dataset()} | TINY
    expected = rollout(gym.make_vec("prune_gym:" + ID, **arguments))
    workers = {"processes": 2, "start_method": sys.argv[1]}
    env = gym.make_vec("prune_gym:" + ID, **workers, **arguments)
    assert same(rollout(env, end=lambda: None), expected)
    print(*[process.pid for process in env.processes], flush=True)
    while True:
        env.step(env.action_space.sample())
"""


@pytest.mark.parametrize(
    ("method", "number"), [("spawn", signal.SIGINT), ("forkserver", signal.SIGKILL)]
)
def test_a_fresh_process_has_the_same_bits_and_leaves_no_worker(tmp_path, method, number):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # In a session of its own, as a terminal has it: Ctrl-C goes to the caller and its workers.
    process = subprocess.Popen(
        [sys.executable, str(script), method],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        start_new_session=True,
    )
    workers = [int(pid) for pid in process.stdout.readline().split()]
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == -number, errors
    assert len(workers) == 2
    assert number != signal.SIGINT or errors.count("\nKeyboardInterrupt") == 1, errors
    until = time.monotonic() + 30
    while any(_alive(pid) for pid in workers):
        assert time.monotonic() < until, "workers are left"
        time.sleep(0.05)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Stable-Baselines3


@pytest.mark.parametrize("processes", [1, 2])
def test_stable_baselines_steps_it(processes):
    pytest.importorskip("stable_baselines3")
    wrappers = [partial(MultiDiscreteAction, durations=2)]
    env = sb3_vec_env(ID, 2, seed=5, wrappers=wrappers, processes=processes, **SMALL)
    assert [len(visited) for visited in env.get_attr("visited")] == [9, 9]
    single = MultiDiscreteAction(gym.make(ID, **SMALL), durations=2)
    env.action_space.seed(0)
    first, second = env.reset(), single.reset(seed=6)[0]
    for _ in range(9):
        assert all(np.array_equal(first[key][1], second[key]) for key in second)
        actions = np.array([env.action_space.sample() for _ in range(2)])
        actions[:, -1] = 0
        first, rewards, dones, infos = env.step(actions)
        second, reward, *_ = single.step(actions[1])
        assert np.float32(rewards[1]) == np.float32(reward)
    assert dones.all()
    assert all("episode" in info and "accuracy" in info for info in infos)
    env.close()
    env.close()


def test_stable_baselines_misses_a_worker():
    pytest.importorskip("stable_baselines3")
    env = sb3_vec_env(ID, 2, processes=2, **SMALL)
    env.reset()
    # The worker prints what was wrong, and ends.
    with pytest.raises(WorkerError, match=r"exit codes: \[1, 1\].*What it printed stands above"):
        env.step([{"mask": np.ones(3), "duration": np.zeros(1)}] * 2)
    assert not any(process.is_alive() for process in env.processes)
    env.close()


def test_without_stable_baselines_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.monitor", None)
    with pytest.raises(PruneGymError, match=r"pip install 'prune-gym\[sb3\]'"):
        sb3_vec_env(ID, 2, **SMALL)
