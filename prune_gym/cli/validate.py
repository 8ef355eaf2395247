"""``prune-gym validate``: benchmark records, played again."""

import argparse
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import add_command

DESCRIPTION = """\
Replay records in the environment: actions in, metrics out. Parameters, MACs, cycles and search MACs
must be equal, latency and energy to the last digits, accuracies within 1e-5 on the same kind of
processor and the same versions, and within a stated tolerance elsewhere; which one was applied is
printed. The steps of the best episode are replayed (the others are recorded without steps); the
final fine-tune is not. Of networks that were compressed as a whole (agent alf) the costs are held,
their training is not done again. The exit status is 1 where a figure differs, with one line for
each.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "validate", "replay benchmark records", DESCRIPTION)
    parser.add_argument("records", nargs="+", type=Path, metavar="FILE", help="*.jsonl")
    parser.add_argument("--dataset", help="where the images are on this machine")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Replay all, print what differs."""
    from tqdm import tqdm

    from benchmarks import records, results

    found = results.load(arguments.records)
    for result in found:
        records.check_replayable(result)
    wrong: list[str] = []
    applied: dict[str, int] = {}
    for result in tqdm(found, unit="record", disable=arguments.quiet):
        env = records.make_environment(result, arguments.dataset)
        wrong += records.replay(result, env)
        allowed, why = records.tolerance(result)
        told = f"accuracies within {allowed:g} ({why})"
        applied[told] = applied.get(told, 0) + 1
        env.close()
    for line in wrong:
        print(line)
    for told, count in applied.items():
        print(f"{count} records: {told}")
    print(f"{len(found)} records, {len(wrong)} differences")
    return 1 if wrong else 0
