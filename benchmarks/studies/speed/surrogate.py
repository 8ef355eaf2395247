"""How fast the surrogate environment steps, and how well it ranks."""

import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

import prune_gym  # noqa: F401 - registers the ids
from benchmarks.studies.speed.measurement import Measurement
from prune_gym.surrogate.predictor import import_library

RATE, TAU = 5000.0, 0.8
TURNS = 5


def rows(steps: int) -> list[Measurement]:
    """Steps a second on one core, tau on held-out episodes, one prediction beside the library's.

    Args:
        steps: How many are timed in each of the turns, of which the median counts.

    Returns:
        The rows.
    """
    env: Any = gym.make("PruneResNet20-Surrogate-v0", threads=1)
    facts = env.unwrapped.evaluator.surrogate.facts
    rate = float(np.median([_steps_per_second(env, steps) for _ in range(TURNS)]))
    own, library = _predictions(env.unwrapped)
    tau = facts["metrics"]["held_out_episodes"]["tau"]
    final = facts["metrics"]["held_out_episodes_final"]["tau"]
    policies = facts["metrics"]["held_out_policies"]["tau"]
    return [
        Measurement(
            "surrogate, random actions, observations included, one core",
            rate,
            "steps/s",
            faster=True,
            target=f">= {RATE:,.0f}",
            met=rate >= RATE,
        ),
        Measurement(
            "one prediction: compiled kernel beside the library's predict", own, "us", library
        ),
        Measurement(
            "surrogate's tau, held-out episodes, all steps",
            tau,
            "tau",
            faster=True,
            target=f">= {TAU}",
            met=tau >= TAU,
        ),
        Measurement(
            "surrogate's tau, held-out episodes, final networks", final, "tau", faster=True
        ),
        Measurement("surrogate's tau, held-out policies, all steps", policies, "tau", faster=True),
    ]


def _steps_per_second(env: gym.Env, steps: int) -> float:
    """Random actions drawn beforehand, resets included."""
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(1000)]
    env.reset(seed=0)
    for action in actions[:9]:
        env.step(action)
    env.reset()
    started = time.perf_counter()
    for step in range(steps):
        _, _, terminated, _, _ = env.step(actions[step % len(actions)])
        if terminated:
            env.reset()
    return steps / (time.perf_counter() - started)


def _predictions(env: Any) -> tuple[float, float]:
    """Microseconds of one prediction: the surrogate's trees, and as many of the library's."""
    surrogate = env.evaluator.surrogate
    width = len(surrogate.facts["features"])
    random = np.random.default_rng(0)
    inputs = random.uniform(0, 1, (1000, width))
    settings = surrogate.facts["regressor"]
    regressor = import_library().GradientBoostingRegressor(**settings)
    regressor.fit(inputs, random.uniform(0, 1, len(inputs)))
    return (
        _microseconds(lambda row: surrogate.trees.predict(row), inputs),
        _microseconds(lambda row: regressor.predict(row[None])[0], inputs),
    )


def _microseconds(predict: Callable[[np.ndarray], float], inputs: np.ndarray) -> float:
    """The median over the rows."""
    taken = []
    for row in inputs:
        started = time.perf_counter()
        predict(row)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken) * 1e6)
