"""``prune-gym record``: record steps of real episodes, to which a surrogate is fitted."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command, add_environment, environment_settings

DESCRIPTION = """\
Play real episodes with several policies in turn (random, l1, uniform, l2pf, mixed) and write every
step, tried candidates included, as JSON lines, for `prune-gym fit-surrogate`.

Each episode draws its policy's keep ratio and duration; half of the durations are 0 and most
others short, so that recording stays affordable. An episode depends only on --seed and its number:
run the command again with the same --out to continue a recording that was stopped.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "record", "record real episodes for a surrogate", DESCRIPTION)
    parser.add_argument("id", help="an environment, for example PruneResNet20-v0")
    parser.add_argument("--out", type=Path, required=True, help="file; an earlier one is continued")
    parser.add_argument(
        "--episodes", type=int, default=300, help="episodes in the file at the end (%(default)s)"
    )
    parser.add_argument(
        "--agents",
        default="random,l1,uniform,l2pf,mixed",
        help="policies in turn, with commas (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_environment(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Record, and print where."""
    from prune_gym.runs.recording import record

    given = arguments
    policies = [name.strip() for name in given.agents.split(",") if name.strip()]
    settings = environment_settings(given)
    episodes = record(
        given.out, given.id, settings, given.episodes, policies, given.seed, given.quiet
    )
    print(f"wrote {arguments.out}: {episodes} episodes")
    return 0
