"""Vector environments: one process for two environments, or a worker process for each."""

import time
from functools import partial
from pathlib import Path

import gymnasium as gym
import numpy as np

import prune_gym  # noqa: F401 - registers the ids
from benchmarks.studies.speed.measurement import Measurement
from benchmarks.studies.speed.step import alternate

ID, ENVS = "prune_gym:PruneResNet20-v0", 2


def rows(repeats: int) -> list[Measurement]:
    """Steps per second, start and memory; the reference is one process with all cores."""
    envs: dict[str, gym.vector.VectorEnv] = {}
    start: dict[str, float] = {}
    memory: dict[str, float] = {}
    before = _resident("self")
    for label, processes in (("one process", False), ("worker processes", True)):
        started = time.perf_counter()
        env = envs[label] = gym.make_vec(ID, num_envs=ENVS, processes=processes, scope="inner")
        _walk(env, 0, 0.0)
        start[label] = time.perf_counter() - started
        workers = getattr(env, "processes", [])
        memory[label] = sum(_resident(str(worker.pid)) for worker in workers)
    memory["one process"] = _resident("self") - before
    result = []
    for duration in (0.0, 0.25):
        cases = {label: partial(_walk, env, duration=duration) for label, env in envs.items()}
        found = alternate(cases, max(1, repeats // 2))
        what = f"vector env, {ENVS} worker processes beside one process, duration {duration}"
        one, many = found["one process"], found["worker processes"]
        result.append(Measurement(what, many, "steps/s", one, faster=True))
    for env in envs.values():
        env.close()
    what = f"vector env, {ENVS} worker processes beside one process"
    for name, unit, figures in (("start", "s", start), ("memory", "MiB", memory)):
        value, reference = figures["worker processes"], figures["one process"]
        result.append(Measurement(f"{what}, {name}", value, unit, reference))
    return result


def _walk(env: gym.vector.VectorEnv, seed: int, duration: float) -> float:
    """Steps per second in one episode of all sub-environments."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    space = env.single_action_space
    assert isinstance(space, gym.spaces.Dict)
    width = gym.spaces.flatdim(space["mask"])
    steps = 9
    started = time.perf_counter()
    for _ in range(steps):
        mask = (rng.random((ENVS, width)) < 0.6).astype(np.int8)
        env.step({"mask": mask, "duration": np.full((ENVS, 1), duration, np.float32)})
    return steps * ENVS / (time.perf_counter() - started)


def _resident(process: str) -> float:
    """Resident memory in MiB (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no VmRSS in /proc/{process}/status")
