"""Recording of real episodes, to which a surrogate is fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from tqdm import tqdm

from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.files import append_line
from prune_gym.interface import Budget, Callback
from prune_gym.registration import make_environment, real_environment
from prune_gym.runs import agents
from prune_gym.runs.config import RunConfig
from prune_gym.surrogate.records import (
    KIND,
    SCHEMA,
    RecordedEpisode,
    RecordedStep,
    conditions,
    cut_to_whole_lines,
    first_difference,
    read,
)

POLICIES = ("random", "l1", "uniform", "l2pf", "mixed")
EVALUATED_IN_FULL = ["fold", "prefix", "moments", "memo"]
"""All fast paths except ``early_exit``, which measures hopeless networks less accurately."""


def record(
    path: Path,
    env_id: str,
    arguments: Mapping[str, Any] | None = None,
    episodes: int = 300,
    policies: Sequence[str] = POLICIES,
    seed: int = 0,
    quiet: bool = False,
) -> int:
    """Play real episodes with several policies in turn, and write every step to a file.

    An episode depends only on the seed and its number, so an interrupted recording can be
    continued.

    Args:
        path: File of JSON lines; if it exists, the recording is continued.
        env_id: Id of a real environment.
        arguments: Arguments of the environment by name; None: the defaults.
        episodes: Number of episodes in the file at the end.
        policies: Names of the policies, some of :data:`POLICIES`.
        seed: Seed of the recording.
        quiet: Whether to hide the progress bar.

    Returns:
        The number of episodes in the file.

    Raises:
        UnknownNameError: If a policy is unknown.
        PruneGymError: If an argument is out of range, the environment is not a real one, or the
            file belongs to another recording.
    """
    if not policies:
        raise PruneGymError(f"The list names no agent to play; known: {', '.join(POLICIES)}")
    for name in policies:
        if name not in POLICIES:
            raise UnknownNameError("agent of a recording", name, POLICIES)
    if episodes < 1:
        raise PruneGymError(f"episodes={episodes} must be at least 1")
    settings = {"fast": EVALUATED_IN_FULL, **(arguments or {})}
    env = make_environment(env_id, settings)
    real = real_environment(env)
    if real.action_mode != "filters":
        raise PruneGymError(
            f"action_mode={real.action_mode!r}: a surrogate is fitted to masks of filters, so only "
            "action_mode='filters' can be recorded."
        )
    first = header(real, env_id, settings, seed) | {"policies": list(policies)}
    if path.exists() and not (path.is_file() and path.stat().st_size == 0):
        done = _continued(path, first)
    else:
        done = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, first)
    with tqdm(total=episodes, initial=done, unit="episode", disable=quiet) as bar:
        for number in range(done, episodes):
            episode = play(env, policies[number % len(policies)], seed, number)
            append_line(path, episode.as_dict())
            bar.update(1)
            bar.set_postfix_str(f"{episode.policy}, accuracy {episode.steps[-1].accuracy:.3f}")
    env.close()
    return max(done, episodes)


def header(env: PruningEnv, name: str, arguments: dict[str, Any], seed: int) -> dict[str, Any]:
    """The first line of a file of records."""
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "id": name,
        # A fit therefore visits the same spaces, whatever the default is by then.
        "env_arguments": {**arguments, "scope": env.config.scope},
        "seed": seed,
        "threads": env.threads,
        "accelerator": env.baseline.costs.accelerator.fingerprint,
        "conditions": conditions(env.config, env.baseline, env.visited),
    }


class _Steps(Callback):
    """Keeps all trials and all steps of an episode."""

    def __init__(self, env: PruningEnv) -> None:
        self.names = [space.name for space in env.visited]
        self.trials: list[RecordedStep] = []
        self.steps: list[RecordedStep] = []

    def on_trial(self, reward: float, info: Mapping[str, Any]) -> None:
        """See :meth:`Callback.on_trial`."""
        self.trials.append(self._step(info))

    def on_episode(self, number: int, env: gym.Env, infos: list[dict[str, Any]]) -> None:
        """See :meth:`Callback.on_episode`."""
        self.steps = [self._step(info) for info in infos]

    def _step(self, info: Mapping[str, Any]) -> RecordedStep:
        name = self.names[info["position"] - 1]
        kept = tuple(np.flatnonzero(info["mask"]).tolist())
        return RecordedStep(name, kept, int(info["batches"]), float(info["accuracy"]))


def play(env: gym.Env, policy: str, seed: int, number: int) -> RecordedEpisode:
    """Play and record one episode; its seed and options are drawn from its number."""
    random = np.random.default_rng([seed, number])
    own_seed, options = int(random.integers(2**31)), draw_options(policy, random)
    played = _Steps(real_environment(env))
    env_id = env.spec.id if env.spec else type(env.unwrapped).__name__
    config = RunConfig(env_id, policy, seed=own_seed, agent_options=options)
    agents.make(config, env).learn(Budget(episodes=1), played)
    steps = []
    for done in played.steps:
        # The step repeats the best trial, and a trial may repeat another.
        tried = dict.fromkeys(t for t in played.trials if t.space == done.space and t != done)
        steps.append(replace(done, tried=tuple(tried)))
    return RecordedEpisode(number, policy, options, own_seed, tuple(steps))


def draw_options(policy: str, random: np.random.Generator) -> dict[str, Any]:
    """Draw the hyperparameters of a policy for one episode."""
    kind = random.random()
    duration = 0.0
    if kind > 0.5:
        low, high = (0.04, 0.3) if kind < 0.9 else (0.3, 1.0)
        duration = low * (high / low) ** random.random()
    keep = random.uniform(0.2, 0.95)
    if policy == "l2pf":
        return {
            "candidates": 2,
            "updates": 1,
            "initial_keep": round(random.uniform(0.3, 0.95), 3),
            "norm_prior": round(random.uniform(-0.5, 2.0), 3),
            # Its durations are log-normal around this value, which must be above 0.
            "initial_duration": round(max(duration, 0.01), 4),
        }
    if policy == "mixed":
        return {"keep": round(random.uniform(0.05, 0.6), 3), "duration": 0.5}
    return {"keep": round(keep, 3), "duration": round(duration, 4)}


def _continued(path: Path, first: dict[str, Any]) -> int:
    """The number of episodes that a file already holds; it must belong to this recording."""
    records = read(path)
    if odd := first_difference(first, records.header):
        raise PruneGymError(
            f"{str(path)!r} belongs to another recording ({odd} differs). Name another file, or "
            "use the same arguments to continue it."
        )
    cut_to_whole_lines(path)
    return len(records.episodes)
