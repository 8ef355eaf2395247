"""``prune-gym evaluate``: measure a run's best network, or its policy, again."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command, add_environment, environment_settings

DESCRIPTION = """\
Load the best network of a run and measure its accuracy on the validation split (or, with
--split test, on the test split: look at it once, at the end) and its costs. --accelerator or
--objective may differ from the run's. With --policy the learned policy plays an episode instead,
taking the most likely action in each step.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "evaluate", "measure a run's best network or its policy", DESCRIPTION
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--policy", action="store_true", help="play the learned policy")
    add_environment(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Measure and print."""
    from prune_gym.runs import Run
    from prune_gym.runs.evaluate import evaluate

    opened, changes = Run.open(arguments.folder), environment_settings(arguments)
    found = evaluate(opened, arguments.split, arguments.policy, changes)
    print(found.table)
    print(f"accuracy on the whole {arguments.split} split: {found.accuracy:.4f}")
    for line in found.target.lines():
        print(line)
    return 0
