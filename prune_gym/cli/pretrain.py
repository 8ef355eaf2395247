"""``prune-gym pretrain``: train a baseline, or a pruned network's shape from scratch."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command, add_normalization, normalization

DESCRIPTION = """\
Train an unpruned network, the baseline that environments start from. It is written to the cache
folder (PRUNE_GYM_HOME), where environments find it, with its recipe and checksum beside it.

To start from given weights (.safetensors, .pth or .pt with the same names and shapes), add
--init FILE.
From-scratch control of a pruned network: --shape RUN/best --out FILE trains a new network with the
same number of channels in each layer.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "pretrain", "train a baseline network", DESCRIPTION)
    parser.add_argument("--network", default="resnet20", help="see `prune-gym list networks`")
    parser.add_argument("--dataset", default="shapes", help="see `prune-gym list datasets`")
    parser.add_argument(
        "--image-size", type=int, default=32, help="height and width in pixels (image folders only)"
    )
    parser.add_argument(
        "--image-channels", type=int, default=3, help="3 for RGB, 1 for grey (image folders only)"
    )
    add_normalization(parser)
    parser.add_argument("--init", type=Path, help="start from these weights, not from scratch")
    parser.add_argument("--shape", type=Path, help="take the channels of this pruned network")
    parser.add_argument("--epochs", type=float, default=20.0)
    parser.add_argument(
        "--learning-rate", type=float, default=0.2, help="peak of the one-cycle schedule"
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, help="torch threads; all cores by default")
    parser.add_argument("--out", type=Path, help="a safetensors file; by default in the cache")
    parser.add_argument("--overwrite", action="store_true", help="replace the cache's baseline")
    parser.add_argument("--test", action="store_true", help="measure the test split at the end")
    parser.add_argument("--half", action="store_true", help="write 16-bit weights (half the size)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train, and print the accuracy."""
    from dataclasses import fields

    from prune_gym.pretraining import Pretraining, pretrain

    names = {field.name for field in fields(Pretraining)} - {"normalization"}
    given = {name: getattr(arguments, name) for name in names}
    given["normalization"] = normalization(arguments)
    found = pretrain(Pretraining(**given), arguments.quiet)
    print(f"validation accuracy {found.validation_accuracy:.4f}")
    if found.test_accuracy is not None:
        print(f"test accuracy {found.test_accuracy:.4f}")
    print(f"wrote {found.path}")
    return 0
