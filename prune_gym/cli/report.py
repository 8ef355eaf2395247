"""``prune-gym report``: a page with tables and figures of many runs."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command

DESCRIPTION = """\
Print the leaderboard of runs, and write one page (index.html, no other file needed to read it) and
PNG figures: leaderboard with intervals, the cost of the search to reach the target, sample
efficiency, Pareto front, kept filters and the layers' costs of the best network, commands and
versions.

RUNS are folders of `prune-gym train`, folders containing such folders at any depth, and files of
benchmark records (*.jsonl). Runs are compared only if environment, data, weights, accelerator,
objective and target are the same. A from-scratch control of a run is read from RUN/scratch.json,
which `prune-gym pretrain --shape RUN/best --out RUN/scratch.safetensors --test` writes.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "report", "a page with tables and figures of runs", DESCRIPTION)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folders or records")
    parser.add_argument(
        "-o", "--out", type=Path, default=Path("report"), help="folder (default: %(default)s)"
    )
    parser.add_argument(
        "--note",
        action="append",
        default=[],
        metavar="TEXT",
        help='a statement for the head of the page, for example "CIFAR-10 (JPEG copy)"',
    )
    parser.add_argument("--title", default="Pruning report", help="default: %(default)s")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the leaderboard, write the report, and print where it is."""
    from benchmarks import leaderboard, results
    from benchmarks.report import write_report

    found = results.load(arguments.runs)
    if finished := [result for result in found if result.finished]:
        print(leaderboard.text(finished))
    written = write_report(found, arguments.out, arguments.note, arguments.title)
    print(f"wrote {written[0]} and {len(written) - 1} figures in {written[0].parent / 'figures'}")
    return 0
