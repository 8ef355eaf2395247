"""``prune-gym export``: the best network of a run as files, for example after Ctrl-C."""

import argparse
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import add_command

DESCRIPTION = """\
Fine-tune the best network of a run, read the test split once, and export it to RUN/best:
model.onnx, model.pt2, weights.safetensors, network.json, report.json, sample.npz, network.png.
Use it after a run that was stopped; `prune-gym train` does the same at its end, and with the same
seed and epochs, unless others are given here.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "export", "export the best network of a stopped run", DESCRIPTION
    )
    parser.add_argument("folder", type=Path, metavar="RUN", help="folder of a run")
    parser.add_argument(
        "--final-epochs", type=float, help="fine-tuning before it (default: the run's; 0: none)"
    )
    parser.add_argument("--seed", type=int, help="of the fine-tuning (default: the run's)")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Export and print what came out."""
    from prune_gym.cli.plan import check_final_epochs
    from prune_gym.cli.train import finish_run
    from prune_gym.errors import PruneGymError
    from prune_gym.runs.folder import BEST, check_same, claimed, search_facts
    from prune_gym.runs.loading import best_state, open_run

    if (arguments.folder / BEST / "report.json").is_file():
        raise PruneGymError(
            f"{str(arguments.folder / BEST)!r} is exported already. A second fine-tune or "
            "look at the test split would make its report untrue."
        )
    with claimed(arguments.folder):
        config, env = open_run(arguments.folder, {})
        check_same(config, env.unwrapped)
        if arguments.final_epochs is None:
            arguments.final_epochs = config["final_epochs"]
        check_final_epochs(arguments.final_epochs)
        if arguments.seed is None:
            arguments.seed = config["seed"]
        state = best_state(arguments.folder, env.unwrapped)
        facts = {name: config[name] for name in ("id", "env_arguments", "agent", "agent_options")}
        facts |= {"seed": arguments.seed, "search": search_facts(arguments.folder)}
        finish_run(arguments.folder, env.unwrapped, state, facts, arguments)
    env.close()
    return 0
