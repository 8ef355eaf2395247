"""``prune-gym record``: steps of real episodes, for a surrogate to be fitted to."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import (
    add_command,
    add_environment_options,
    environment_settings,
    make_environment,
)

EVALUATED_IN_FULL = ["fold", "prefix", "moments", "memo"]
POLICIES = ("random", "l1", "uniform", "l2pf", "mixed")
DESCRIPTION = f"""\
Play real episodes with several policies in turn ({", ".join(POLICIES)}) and write every step,
tried candidates included, as JSON lines, for `prune-gym fit-surrogate`.

Each episode draws its policy's keep ratio and duration anew; half of the durations are 0, most
others short, so that recording stays affordable. An episode depends on --seed and its number
alone: run the command again with the same --out to go on where it was stopped.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "record", "record real episodes for a surrogate", DESCRIPTION)
    parser.add_argument("id", help="an environment, for example PruneResNet20-v0")
    parser.add_argument("--out", type=Path, required=True, help="file; an earlier one is continued")
    parser.add_argument("--episodes", type=int, default=300, help="in the file in the end")
    parser.add_argument(
        "--agents", default=",".join(POLICIES), help=f"in turn, some of {','.join(POLICIES)}"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_environment_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Play, and append each episode as it ends."""
    from tqdm import tqdm

    from prune_gym.errors import PruneGymError
    from prune_gym.runs.folder import append_line
    from prune_gym.surrogate.recording import header

    policies = _policies(arguments.agents)
    if arguments.episodes < 1:
        raise PruneGymError(f"--episodes {arguments.episodes} must be at least 1")
    # An early exit saves time on hopeless networks, and tells less of them.
    settings = {"fast": EVALUATED_IN_FULL} | environment_settings(arguments)
    env = make_environment(arguments.id, settings)
    _check_real(env.unwrapped)
    _check_mode(env.unwrapped)
    first = header(env.unwrapped, arguments.id, settings, arguments.seed)
    first["policies"] = policies
    done = _recorded(arguments.out, first)
    if done is None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        append_line(arguments.out, first)
    with tqdm(
        total=arguments.episodes,
        initial=done or 0,
        unit="episode",
        file=sys.stderr,
        disable=arguments.quiet,
    ) as bar:
        for number in range(done or 0, arguments.episodes):
            episode = play(env, policies[number % len(policies)], arguments.seed, number)
            append_line(arguments.out, episode.as_dict())
            bar.update(1)
            bar.set_postfix_str(f"{episode.policy}, accuracy {episode.steps[-1].accuracy:.3f}")
    env.close()
    print(f"wrote {arguments.out}: {max(done or 0, arguments.episodes)} episodes")
    return 0


def play(env: Any, policy: str, seed: int, number: int) -> Any:
    """Play and record one episode.

    Args:
        env: The real environment.
        policy: One of ``POLICIES``.
        seed: Of the recording.
        number: Of the episode; with the seed it decides everything.

    Returns:
        A :class:`prune_gym.surrogate.records.RecordedEpisode`.
    """
    import numpy as np

    import agents
    from agents.base import Budget, Callback
    from prune_gym.surrogate.records import RecordedEpisode, RecordedStep, step_of

    random = np.random.default_rng([seed, number])
    own_seed, options = int(random.integers(2**31)), draw_options(policy, random)
    names = [space.name for space in env.unwrapped.visited]

    def step(info: Mapping[str, Any]) -> RecordedStep:
        name = names[info["position"] - 1]
        return step_of(name, info["mask"], info["batches"], info["accuracy"])

    class Steps(Callback):
        """Keeps all trials of an episode, and the steps that were carried out."""

        def __init__(self) -> None:
            self.trials: list[RecordedStep] = []
            self.steps: list[RecordedStep] = []

        def on_trial(self, reward: float, info: Mapping[str, Any]) -> None:
            self.trials.append(step(info))

        def on_episode(self, number: int, env: Any, infos: list[dict[str, Any]]) -> None:
            self.steps = [step(info) for info in infos]

    played = Steps()
    agents.make(policy, env, seed=own_seed, **options).learn(Budget(episodes=1), played)
    steps = []
    for done in played.steps:
        # The step repeats the trial that won, and a trial may repeat another.
        tried = dict.fromkeys(t for t in played.trials if t.space == done.space and t != done)
        steps.append(RecordedStep(done.space, done.kept, done.batches, done.accuracy, tuple(tried)))
    return RecordedEpisode(number, policy, options, own_seed, tuple(steps))


def draw_options(policy: str, random: Any) -> dict[str, Any]:
    """The hyperparameters of one episode's policy.

    Args:
        policy: One of ``POLICIES``.
        random: A NumPy generator.

    Returns:
        Options for :func:`agents.make`.
    """
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
            # Its durations are log-normal about this one, which must be above 0.
            "initial_duration": round(max(duration, 0.01), 4),
        }
    if policy == "mixed":
        return {"keep": round(random.uniform(0.05, 0.6), 3), "duration": 0.5}
    return {"keep": round(keep, 3), "duration": round(duration, 4)}


def _policies(text: str) -> list[str]:
    from prune_gym.errors import PruneGymError, UnknownNameError

    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise PruneGymError(f"--agents {text!r} names no agent; known: {', '.join(POLICIES)}")
    for name in names:
        if name not in POLICIES:
            raise UnknownNameError("agent of a recording", name, POLICIES)
    return names


def _check_real(env: Any) -> None:
    from prune_gym.envs import PruningEnv
    from prune_gym.errors import PruneGymError

    if not isinstance(env, PruningEnv):
        raise PruneGymError(
            f"{type(env).__name__} is no real environment; record PruneResNet20-v0 or another of "
            "`prune-gym list environments`."
        )


def _check_mode(env: Any) -> None:
    from prune_gym.errors import PruneGymError

    if env.action_mode != "filters":
        raise PruneGymError(
            f"action_mode={env.action_mode!r}: a surrogate is fitted to masks of filters, so only "
            "action_mode='filters' can be recorded."
        )


def _recorded(path: Path, first: dict[str, Any]) -> int | None:
    """How many episodes a file already holds; None where there is none.

    Raises:
        PruneGymError: It is of another recording.
    """
    from prune_gym.errors import PruneGymError
    from prune_gym.surrogate.records import cut_to_whole_lines, read

    if not path.exists() or (path.is_file() and not path.stat().st_size):
        return None
    records = read(path)
    odd = sorted(key for key in first | records.header if first.get(key) != records.header.get(key))
    if odd:
        raise PruneGymError(
            f"{str(path)!r} is of another recording ({odd[0]} differs). Name another --out, or "
            "give the same arguments to go on with it."
        )
    cut_to_whole_lines(path)
    return len(records.episodes)
