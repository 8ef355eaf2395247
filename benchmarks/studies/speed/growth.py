"""Time of the parts of a step, and its growth with network, images and filters."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as torch_profile

from benchmarks.studies.speed.measurement import Measurement
from benchmarks.studies.speed.step import alternate, begin, make, play, walk
from prune_gym.data import load_dataset
from prune_gym.envs import PruningEnv, filter_mode
from prune_gym.envs.config import FAST
from prune_gym.networks import build

OWN_TARGET = 0.05
PARTS: dict[str, tuple[Any, str]] = {
    "cut": (filter_mode, "dense"),
    "repair": (filter_mode.FilterMode, "_repair"),
    "fine-tuning": (filter_mode, "train"),
}


@contextmanager
def timed(env: PruningEnv) -> Iterator[dict[str, float]]:
    """Seconds of each part of the steps inside the context."""
    seconds = dict.fromkeys([*PARTS, "evaluation", "costs", "observation"], 0.0)
    places = PARTS | {
        "costs": (env.baseline.costs, "of"),
        "evaluation": (env.evaluator, "evaluate"),
        "observation": (env.mode.observer, "observe"),
    }

    def timer(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[part] += time.perf_counter() - started

        return run

    with ExitStack() as stack:
        for part, (place, name) in places.items():
            timing = timer(part, getattr(place, name))
            stack.enter_context(mock.patch.object(place, name, timing))
        yield seconds


def profile(
    name: str, arguments: dict[str, Any], duration: float, episodes: int
) -> list[Measurement]:
    """Seconds of the parts of a mean step, with the fast paths off and on."""
    found: dict[bool, dict[str, float]] = {}
    for fast in (False, True):
        env = make(name, fast=fast, **arguments)
        walk(env, 0, duration)
        total, spent = 0.0, Counter[str]()
        for seed in range(1, episodes + 1):
            chosen = begin(env, seed, duration)
            with timed(env) as seconds:
                total += play(env, chosen) / episodes
            spent.update(seconds)
        found[fast] = {part: s / episodes / len(env.visited) for part, s in spent.items()}
        found[fast]["the rest"] = total - sum(found[fast].values())
        found[fast]["a step in all"] = total
    return [
        Measurement(f"duration {duration}: {part}", 1e3 * found[True][part], "ms", 1e3 * seconds)
        for part, seconds in found[False].items()
    ]


def own_work(name: str, arguments: dict[str, Any], repeats: int) -> list[Measurement]:
    """Share of a step outside of torch kernels and the accelerator's mapping search."""
    env = make(name, **arguments)
    walk(env, 0)
    shares = []
    for seed in range(1, repeats + 1):
        chosen = begin(env, seed)
        with timed(env) as seconds, torch_profile(activities=[ProfilerActivity.CPU]) as profiler:
            wall = play(env, chosen) * len(env.visited)
        kernels = sum(event.self_cpu_time_total for event in profiler.key_averages()) / 1e6
        shares.append(1 - (kernels + seconds["costs"]) / wall)
    share = statistics.median(shares)
    what, met = "own work in a step", share <= OWN_TARGET
    return [Measurement(what, 100 * share, "%", target="at most 5 %", met=met)]


def growth(name: str, arguments: dict[str, Any], repeats: int) -> list[Measurement]:
    """A mean step without fine-tuning, by network, by images and by share of filters kept."""
    rows = []
    dataset = load_dataset("shapes")
    size = dataset.train.images.shape[2]
    # Weights do not change the time, so the networks are untrained.
    torch.manual_seed(0)
    networks = {
        n: build(n, len(dataset.classes), size) for n in ("plain20", "resnet20", "resnet56")
    }
    for label, network in networks.items():
        network.module.eval()
        env = PruningEnv(network, dataset, scope="inner", **arguments)
        rows.append(_row(label, env, repeats))
    for images in (250, 500, 1000, 2000):
        env = make(name, eval_images=images, **arguments)
        rows.append(_row(f"{images} evaluation images", env, repeats))
    # The masks repeat, so results must not be cached.
    env = make(name, fast=[path for path in FAST if path != "memo"], **arguments)
    for keep in (1.0, 0.75, 0.5, 0.25):
        mask = (np.arange(env.width) % 4 < 4 * keep).astype(np.int8)
        action = {"mask": mask, "duration": np.zeros(1, np.float32)}
        rows.append(_row(f"{keep:.0%} of the filters kept", env, repeats, action))
    return rows


def _row(
    what: str, env: PruningEnv, repeats: int, action: dict[str, Any] | None = None
) -> Measurement:
    def case(seed: int) -> float:
        if action is None:
            return walk(env, seed)
        env.reset(seed=seed)
        started = time.perf_counter()
        for _ in env.visited:
            env.step(action)
        return (time.perf_counter() - started) / len(env.visited)

    return Measurement(f"step, {what}", alternate({what: case}, repeats)[what], "s")
