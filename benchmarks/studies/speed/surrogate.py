"""Steps per second of the surrogate environment, and Kendall's tau of its ranking."""

import time
from collections.abc import Callable

import gymnasium as gym
import numpy as np

import prune_gym  # noqa: F401 - registers the ids
from benchmarks.studies.speed.measurement import Measurement
from prune_gym.envs import PruningEnv
from prune_gym.surrogate.predicted import PredictedEvaluator
from prune_gym.surrogate.predictor import Surrogate, import_library

RATE, TAU = 5000.0, 0.8
TURNS = 5


def rows(steps: int) -> list[Measurement]:
    """Steps per second on one core (median of turns), time of a prediction, and held-out tau."""
    env = gym.make("PruneResNet20-Surrogate-v0", threads=1)
    inner = env.unwrapped
    assert isinstance(inner, PruningEnv)
    assert isinstance(inner.evaluator, PredictedEvaluator)
    surrogate = inner.evaluator.surrogate
    rate = float(np.median([_steps_per_second(env, steps) for _ in range(TURNS)]))
    what = "surrogate, random actions, observations included, one core"
    found = [
        Measurement(what, rate, "steps/s", None, True, f">= {RATE:,.0f}", rate >= RATE),
        Measurement(
            "one prediction: compiled kernel beside the library's predict",
            *_predictions(surrogate),
        ),
    ]
    for name, what, least in (
        ("held_out_episodes", "held-out episodes, all steps", TAU),
        ("held_out_episodes_final", "held-out episodes, final networks", None),
        ("held_out_policies", "held-out policies, all steps", None),
    ):
        tau = surrogate.facts["metrics"][name]["tau"]
        aim = ("", None) if least is None else (f">= {least}", tau >= least)
        found.append(Measurement(f"surrogate's tau, {what}", tau, "tau", None, True, *aim))
    return found


def _steps_per_second(env: gym.Env, steps: int) -> float:
    """Steps per second with random actions, resets included."""
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


def _predictions(surrogate: Surrogate) -> tuple[float, str, float]:
    """Microseconds of a prediction by the surrogate's trees, and by as many of the library's."""
    width = len(surrogate.facts["features"])
    random = np.random.default_rng(0)
    inputs = random.uniform(0, 1, (1000, width))
    settings = surrogate.facts["regressor"]
    regressor = import_library().GradientBoostingRegressor(**settings)
    regressor.fit(inputs, random.uniform(0, 1, len(inputs)))
    return (
        _microseconds(lambda row: surrogate.trees.predict(row), inputs),
        "us",
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
