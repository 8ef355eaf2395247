"""Steps, resets and candidates of the environment, with the fast paths on and off."""

import resource
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.studies.speed.measurement import Measurement
from prune_gym.data import Dataset, Split
from prune_gym.envs import PruningEnv
from prune_gym.envs.config import FAST
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace

LADDER: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("batch norm folded", ("fold",)),
    ("+ moments", ("fold", "moments")),
    ("+ prefix", ("fold", "moments", "prefix")),
    ("all fast paths", FAST),
)
STEP_TARGET_S, RESET_TARGET_MS = 0.6, 50.0


def make(name: str, **arguments: Any) -> PruningEnv:
    """An environment by id, unwrapped; it visits the inner spaces, as in earlier measurements."""
    given = {"scope": "inner", **arguments}
    env = gym.make(name, disable_env_checker=True, **given).unwrapped
    assert isinstance(env, PruningEnv)
    return env


def random_actions(env: PruningEnv, seed: int, duration: float = 0.0) -> list[dict[str, Any]]:
    """One action for each space: a random share of random filters, at one duration."""
    rng = np.random.default_rng(seed)
    return [
        {
            "mask": (rng.random(env.width) < rng.uniform(0.3, 0.95)).astype(np.int8),
            "duration": np.array([duration], np.float32),
        }
        for _ in env.visited
    ]


def walk(env: PruningEnv, seed: int, duration: float = 0.0) -> float:
    """Mean seconds of a step of one episode."""
    return play(env, begin(env, seed, duration))


def begin(env: PruningEnv, seed: int, duration: float = 0.0) -> list[dict[str, Any]]:
    """Begin an episode, and draw its actions."""
    chosen = random_actions(env, seed, duration)
    env.reset(seed=seed)
    return chosen


def play(env: PruningEnv, chosen: list[dict[str, Any]]) -> float:
    """Mean seconds of the steps of an episode that has begun."""
    started = time.perf_counter()
    for action in chosen:
        env.step(action)
    return (time.perf_counter() - started) / len(chosen)


def alternate(cases: Mapping[str, Callable[[int], float]], repeats: int) -> dict[str, float]:
    """Median of each case's value; the cases take turns, as the speed of a shared machine drifts.

    Every turn has its own seed, so that no case finds a cached result.
    """
    figures: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(repeats + 1):
        for name, case in cases.items():
            figure = case(turn)
            if turn:  # the first turn warms up and is not counted
                figures[name].append(figure)
    return {name: statistics.median(values) for name, values in figures.items()}


def steps(name: str, arguments: dict[str, Any], repeats: int) -> list[Measurement]:
    """Mean step without fine-tuning, by fast path, and with fine-tuning."""
    envs = {"off": make(name, fast=False, **arguments)}
    envs |= {label: make(name, fast=paths, **arguments) for label, paths in LADDER}
    found = alternate({label: partial(walk, env) for label, env in envs.items()}, repeats)
    rows = []
    for label, paths in LADDER:
        row = Measurement(f"step, duration 0, {label}", found[label], "s", found["off"])
        if paths == FAST:
            met = row.value <= STEP_TARGET_S
            row = replace(row, target=f"at most {STEP_TARGET_S} s", met=met)
        rows.append(row)
    suffix = make(name, tune="suffix", **arguments)
    tuned = {"off": envs["off"], "all": envs[LADDER[-1][0]], "suffix": suffix}
    cases = {label: partial(walk, env, duration=0.25) for label, env in tuned.items()}
    found = alternate(cases, max(1, repeats // 3))
    for tune in ("all", "suffix"):
        what = f"step, duration 0.25, all fast paths, tune={tune!r}"
        rows.append(Measurement(what, found[tune], "s", found["off"]))
    return rows


def candidates(
    name: str, arguments: dict[str, Any], repeats: int, count: int = 8
) -> list[Measurement]:
    """Candidates from the states of an episode, together and one by one."""
    together, alone = make(name, **arguments), make(name, fast=False, **arguments)

    def run(env: PruningEnv, seed: int, trial: Callable[[list[Any]], object]) -> float:
        env.reset(seed=seed)
        seconds = 0.0
        for position, chosen in enumerate(random_actions(env, seed)):
            if position % 3 == 1:  # three layers of an episode are enough
                actions = [random_actions(env, 100 * seed + k)[position] for k in range(count)]
                started = time.perf_counter()
                trial(actions)
                seconds += time.perf_counter() - started
            env.step(chosen)
        return seconds

    def one_by_one(actions: list[Any]) -> None:
        before = alone.snapshot()
        for action in actions:
            alone.restore(before)
            alone.step(action)
        alone.restore(before)

    cases = {
        "off": lambda seed: run(alone, seed, one_by_one),
        "on": lambda seed: run(together, seed, together.try_actions),
    }
    found = alternate(cases, repeats)
    what = f"{count} candidates, duration 0 (sum over 3 layers)"
    met = found["off"] >= 2 * found["on"]
    return [Measurement(what, found["on"], "s", found["off"], target="at least 2x", met=met)]


def resets(name: str, arguments: dict[str, Any]) -> list[Measurement]:
    """Milliseconds of a reset after an episode's start."""
    env = make(name, **arguments)
    times = []
    for seed in range(20):
        started = time.perf_counter()
        env.reset(seed=seed)
        times.append(1e3 * (time.perf_counter() - started))
    figure = statistics.median(times)
    met = figure < RESET_TARGET_MS
    return [Measurement("reset", figure, "ms", target=f"under {RESET_TARGET_MS:.0f} ms", met=met)]


def memory(episodes: int) -> list[Measurement]:
    """Growth of the peak memory over many episodes on the smallest network."""
    env = tiny_env()
    for seed in range(50):
        walk(env, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(50, 50 + episodes):
        walk(env, seed, 0.5 if seed % 4 == 0 else 0.0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    what = f"growth of the peak memory over {episodes} episodes of the smallest network"
    return [Measurement(what, grown, "MiB", target="flat (under 5 MiB)", met=grown < 5)]


class TinyNet(nn.Module):
    """Two convolutions with batch norm, and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 2)."""
        x = self.norm1(self.first(x)).relu()
        x = self.norm2(self.second(x)).relu()
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def tiny_env(seed: int = 0) -> PruningEnv:
    """An environment on the tiny network, untrained, and 96 images of noise."""
    torch.manual_seed(seed)
    spaces = (
        ChannelSpace("one", 8, ("first",), ("second",), ("norm1",)),
        ChannelSpace("two", 8, ("second",), ("head",), ("norm2",)),
    )
    network = Network("benchmarks:tiny", TinyNet().eval(), spaces, (3, 8, 8), 2)
    rng = np.random.default_rng(seed)

    def split(images: int) -> Split:
        pixels = rng.integers(0, 256, (images, 3, 8, 8), dtype=np.uint8)
        return Split(torch.from_numpy(pixels), torch.arange(images) % 2)

    dataset = Dataset("noise", "noise", "0" * 64, ("a", "b"), split(32), split(32), split(32))
    return PruningEnv(network, dataset, threads=1, eval_images=32, repair_images=16, batch_size=16)
