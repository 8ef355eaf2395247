"""``prune-gym validate``: benchmark records, replayed."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command

DESCRIPTION = """\
Replay records in the environment: actions in, accuracies and costs out. Parameters, MACs, cycles
and search MACs must be equal, latency and energy to a relative error of 1e-12. Accuracies must
agree within 1e-5 on the same kind of processor with the same versions, and elsewhere within a
stated tolerance; the command prints which one it applied. The steps of the episodes whose network
was the best so far are replayed (records leave the steps of the others out), and the costs of the
report are compared with the last one's network. With --final the final fine-tune is repeated too,
and the report's accuracies, the score among them, are compared with its result; this takes as long
as the original fine-tune. Of networks that were compressed as a whole (agent alf) only the costs
are compared; their training is not repeated. The exit status is 1 if a value differs; each
difference is one line.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "validate", "replay benchmark records", DESCRIPTION)
    parser.add_argument("records", nargs="+", type=Path, metavar="FILE", help="*.jsonl")
    parser.add_argument("--dataset", help="the images on this machine")
    parser.add_argument(
        "--final", action="store_true", help="repeat the final fine-tune and compare the score"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Replay all records, print the differences."""
    from collections import Counter

    from tqdm import tqdm

    from benchmarks import replay, results, validate

    found = results.load(arguments.records)
    for result in found:
        validate.check_replayable(result)
    wrong, repeats = validate.find_copies(found)
    applied = Counter[str]()
    for result in tqdm(found, unit="record", disable=arguments.quiet):
        env = validate.make_environment(result, arguments.dataset)
        wrong += replay.replay(result, env, arguments.final)
        applied[replay.applied(result, arguments.final)] += 1
        env.close()
    for line in wrong:
        print(line)
    for text, count in applied.items():
        print(f"{count} records: {text}")
    for line in repeats:
        print(line)
    print(f"{len(found)} records, {len(wrong)} differences")
    return 1 if wrong else 0
