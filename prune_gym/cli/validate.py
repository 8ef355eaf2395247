"""``prune-gym validate``: benchmark records, played again."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command

DESCRIPTION = """\
Replay records in the environment: actions in, metrics out. Parameters, MACs, cycles and search MACs
must be equal, latency and energy to the last digits, accuracies within 1e-5 on the same kind of
processor and the same versions, and within a stated tolerance elsewhere; which one was applied is
printed. The steps of the episodes that became the best so far are replayed (the others are
recorded without steps), and the report's costs are held against the last one's network. With
--final the final fine-tune is done again, too, and the report's accuracies, the score among them,
are held against it: that takes as long as it took. Of networks that were compressed as a whole
(agent alf) the costs are held, their training is not done again. The exit status is 1 where a
figure differs, with one line for each.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "validate", "replay benchmark records", DESCRIPTION)
    parser.add_argument("records", nargs="+", type=Path, metavar="FILE", help="*.jsonl")
    parser.add_argument("--dataset", help="where the images are on this machine")
    parser.add_argument(
        "--final", action="store_true", help="do the final fine-tune again, and hold the score"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Replay all, print what differs."""
    from tqdm import tqdm

    from benchmarks import records, results
    from benchmarks.consistency import copies
    from benchmarks.replay import replay, trained_as_a_whole

    found = results.load(arguments.records)
    for result in found:
        records.check_replayable(result)
    wrong, repeats = copies(found)
    applied: dict[str, int] = {}
    for result in tqdm(found, unit="record", disable=arguments.quiet):
        env = records.make_environment(result, arguments.dataset)
        wrong += replay(result, env.unwrapped, arguments.final)
        allowed = records.tolerance(result)
        told = f"accuracies within {allowed.each:g}, {allowed.mean:g} on average ({allowed.why})"
        if trained_as_a_whole(result):
            told = "costs alone: compressed as a whole, their training is not done again"
        elif not arguments.final:
            told += "; those after the final fine-tune not at all, which takes --final"
        applied[told] = applied.get(told, 0) + 1
        env.close()
    for line in wrong:
        print(line)
    for told, count in applied.items():
        print(f"{count} records: {told}")
    for line in repeats:
        print(line)
    print(f"{len(found)} records, {len(wrong)} differences")
    return 1 if wrong else 0
