"""``prune-gym export``: the best network of a stopped run as files."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command
from prune_gym.cli.train import print_report

DESCRIPTION = """\
Fine-tune the best network of a run, read the test split once, and export it to RUN/best:
model.onnx, model.pt2, weights.safetensors, network.json, report.json, sample.npz, network.png.
Use it after a run that was stopped; `prune-gym train` does the same at its end, with the same seed
and epochs, unless others are given here.

In Python: prune_gym.runs.Run.open("RUN").finish().
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "export", "export the best network of a stopped run", DESCRIPTION
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--final-epochs",
        type=float,
        help="epochs of the final fine-tune before the export (default: the run's; 0: none)",
    )
    parser.add_argument("--seed", type=int, help="seed of the final fine-tune (default: the run's)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Export, and print the result."""
    from prune_gym.runs import Run

    stopped = Run.open(arguments.folder, arguments.quiet)
    print_report(stopped.finish(arguments.final_epochs, arguments.seed), arguments.folder)
    return 0
