"""Time of L2PF until its first network at half the MACs within tolerance."""

import time
from collections.abc import Mapping
from typing import Any

import gymnasium as gym

from agents.base import Budget, Callback
from agents.l2pf import L2PF
from benchmarks.studies.speed.measurement import Measurement
from benchmarks.studies.speed.step import make
from prune_gym.envs import PruningEnv

RATIO = 2.0


class _Found(Exception):
    """Ends the search."""


class _Watch(Callback):
    """Stops the search at the first network that meets the aim."""

    def __init__(self, env: PruningEnv) -> None:
        self.env = env
        self.info: dict[str, Any] = {}

    def on_episode(self, number: int, env: gym.Env, infos: list[dict[str, Any]]) -> None:
        self.info = infos[-1]
        drop = self.env.baseline.accuracy - self.info["accuracy"]
        if self.info["macs_ratio"] >= RATIO and drop <= self.env.reward_function.tolerance:
            raise _Found


def time_to_network(
    name: str, arguments: Mapping[str, Any], seed: int, most: int, **options: Any
) -> dict[str, float]:
    """Seconds until L2PF's first network at 2x in MACs within tolerance, and its figures.

    Raises:
        RuntimeError: No such network was found in ``most`` episodes.
    """
    env = make(name, **arguments)
    watch = _Watch(env)
    started = time.perf_counter()
    try:
        L2PF(env, seed=seed, **options).learn(Budget(episodes=most), watch)
    except _Found:
        seconds = time.perf_counter() - started
        return {"seconds": seconds, **{key: watch.info[key] for key in ("accuracy", "macs_ratio")}}
    raise RuntimeError(f"no network at {RATIO}x within tolerance in {most} episodes")


def searches(name: str, arguments: dict[str, Any], seed: int, most: int = 10) -> list[Measurement]:
    """L2PF with the fast paths, compared with the same agent without."""
    before = time_to_network(name, arguments | {"fast": False}, seed, most)
    rows = []
    for label, settings in (("all fast paths", {}), ("and tune='suffix'", {"tune": "suffix"})):
        after = time_to_network(name, arguments | settings, seed, most)
        what = f"l2pf to its first network at {RATIO}x in MACs within tolerance, {label}"
        found = f"{_words(after)}; without: {_words(before)}"
        rows.append(Measurement(f"{what} ({found})", after["seconds"], "s", before["seconds"]))
    return rows


def _words(figures: dict[str, float]) -> str:
    return f"{figures['macs_ratio']:.2f}x, {100 * figures['accuracy']:.1f} %"
