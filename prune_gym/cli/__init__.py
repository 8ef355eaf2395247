"""The command ``prune-gym``, one module per subcommand.

Modules are imported only when a command needs them.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from prune_gym import __version__
from prune_gym.errors import PruneGymError, Stopped
from prune_gym.signals import stopped_by_signals
from prune_gym.trust import trusting

COMMANDS = (
    "train",
    "pretrain",
    "record",
    "fit_surrogate",
    "evaluate",
    "export",
    "spaces",
    "profile",
    "report",
    "bench",
    "validate",
    "listing",
)
EPILOG = """\
Start here:
  prune-gym list                                        the names to choose from
  prune-gym train PruneResNet20-v0 --agent l2pf --out runs/first
  prune-gym evaluate runs/first                         accuracy and cost of the best network

On your own images (folders train/CLASS/*.jpg and test/CLASS/*.jpg):
  prune-gym pretrain --network resnet20 --dataset imagefolder:PATH
  prune-gym train PruneResNet20-CIFAR10-v0 --dataset imagefolder:PATH --out runs/mine
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="prune-gym",
        description="Make a trained CNN smaller for an accelerator, by reinforcement learning.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"prune-gym {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"prune_gym.cli.{name}")
        module.add_parser(commands).set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments; None for the process's own.

    Returns:
        0, or 2 for bad input, 1 for any other error, 130 after Ctrl-C, SIGTERM or SIGHUP.
    """
    try:
        from prune_gym.runs.agents import check_package

        check_package()
        arguments = make_parser().parse_args(argv)
        with trusting(arguments.trust), stopped_by_signals():
            code: int = arguments.run(arguments)
    except Stopped as stopped:
        print(f"\n{stopped}", file=sys.stderr)
        return 130
    except (PruneGymError, ValueError) as error:
        print(f"prune-gym: {error}", file=sys.stderr)
        return 2
    except Exception as error:
        # Users need only this line; set the variable to see the traceback.
        if os.environ.get("PRUNE_GYM_TRACEBACK"):
            raise
        print(
            f"prune-gym: {type(error).__name__}: {error} (set PRUNE_GYM_TRACEBACK=1 to see where)",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt as stopped:
        print(f"prune-gym: stopped by {str(stopped) or 'Ctrl-C'}", file=sys.stderr)
        return 130
    return code
