"""``--warm-start surrogate``: learn in the surrogate first, go on in the real environment."""

import argparse
import time
from typing import Any

from prune_gym.cli.settings import make_environment

EPISODES = 50


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a warm start."""
    group = parser.add_argument_group("warm start (before the search, and not of its budget)")
    group.add_argument(
        "--warm-start", choices=("surrogate",), help="learn in the surrogate environment first"
    )
    group.add_argument(
        "--warm-start-episodes", type=int, default=EPISODES, help=f"episodes there ({EPISODES})"
    )


def take_over(arguments: argparse.Namespace, config: dict[str, Any]) -> None:
    """Give a resumed run the warm start that it was begun with."""
    begun = config.get("warm_start")
    if begun:
        arguments.warm_start = begun["kind"]
        arguments.warm_start_episodes = begun["episodes"]


def environment(env: Any, arguments: argparse.Namespace, settings: dict[str, Any]) -> Any:
    """The surrogate of a run's environment, or None without ``--warm-start``.

    Args:
        env: The run's environment.
        arguments: Of the command line.
        settings: The environment's arguments.

    Raises:
        PruneGymError: The run's environment is itself a surrogate, which has no network to export;
            no surrogate was fitted for these settings; or no episode is asked for.
    """
    import gymnasium as gym

    from prune_gym.envs.env import NO_NETWORK
    from prune_gym.errors import PruneGymError
    from prune_gym.registration import SURROGATE

    if env.unwrapped.predicted:
        raise PruneGymError(NO_NETWORK)
    if arguments.warm_start is None:
        return None
    if arguments.warm_start_episodes < 1:
        raise PruneGymError(
            f"--warm-start-episodes {arguments.warm_start_episodes} must be at least 1"
        )
    return make_environment(SURROGATE, gym.spec(arguments.id).kwargs | settings)


def facts(surrogate: Any, episodes: int) -> dict[str, Any]:
    """What the records say of a warm start."""
    fitted = surrogate.unwrapped.evaluator.surrogate.facts
    return {
        "kind": "surrogate",
        "episodes": episodes,
        "surrogate_sha256": fitted["sha256"],
        "held_out_episodes": fitted["metrics"]["held_out_episodes"],
    }


def learn(agent: Any, surrogate: Any, episodes: int, quiet: bool) -> float:
    """Let an agent learn in the surrogate; after it, it has its own environment back.

    Args:
        agent: Any agent that learns in its ``env``.
        surrogate: The surrogate environment.
        episodes: How many.
        quiet: No progress bar.

    Returns:
        Seconds of wall time.
    """
    from tqdm import tqdm

    from agents.base import Budget, Callback

    class Bar(Callback):
        def on_episode(self, number: int, env: Any, infos: list[dict[str, Any]]) -> None:
            bar.update(1)
            bar.set_postfix_str(f"predicted score {infos[-1]['score']:+.3f}", refresh=False)

    real, started = agent.env, time.monotonic()
    with tqdm(total=episodes, desc="surrogate", unit="episode", disable=quiet) as bar:
        agent.env = surrogate
        try:
            agent.learn(Budget(episodes=episodes), Bar())
        finally:
            agent.env = real
    return round(time.monotonic() - started, 3)
