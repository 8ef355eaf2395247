"""``prune-gym evaluate``: a run's best network, or its policy, measured again."""

import argparse
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import add_command, add_environment_options, environment_settings

DESCRIPTION = """\
Load the best network of a run and measure its accuracy on the validation split (or, with
--split test, on the test split: look at it once, at the end) and its costs. Another
accelerator or objective can be named. With --policy the learned policy plays an episode
instead, each action the likeliest one.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "evaluate", "measure a run's best network or its policy", DESCRIPTION
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--policy", action="store_true", help="play the learned policy")
    add_environment_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from prune_gym.envs import render
    from prune_gym.envs.target import report_lines
    from prune_gym.runs.loading import best_state, open_run
    from prune_gym.training import split_accuracy

    config, env = open_run(arguments.folder, environment_settings(arguments))
    unwrapped = env.unwrapped
    if arguments.policy:
        _play(arguments.folder, config, env)
        state = unwrapped.snapshot()
    else:
        state = best_state(arguments.folder, unwrapped)
    print(render.table(state, unwrapped.baseline, unwrapped.visited))
    split = getattr(unwrapped.baseline.dataset, arguments.split)
    accuracy = split_accuracy(state.module, split, unwrapped.baseline.device)
    print(f"accuracy on the whole {arguments.split} split: {accuracy:.4f}")
    for line in report_lines(unwrapped.target.report(state.costs, state.accuracy)):
        print(line)
    env.close()
    return 0


def _play(folder: Path, config: dict[str, Any], env: Any) -> None:
    """One episode of the run's policy."""
    import agents
    from prune_gym.runs.folder import POLICY

    agent = agents.make(config["agent"], env, seed=config["seed"], **config["agent_options"])
    agent.load(folder / POLICY)
    observation, info = env.reset(seed=config["seed"])
    ended = False
    while not ended:
        action = agent.act(observation, info, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
