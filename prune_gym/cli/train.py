"""``prune-gym train``: search with an agent, keep the best network, export it."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_gym.cli.settings import (
    Commands,
    add_command,
    add_environment,
    add_pairs,
    environment_settings,
)
from prune_gym.settings import parse_settings

if TYPE_CHECKING:
    from prune_gym.runs import Report, RunConfig

DESCRIPTION = """\
Train an agent in an environment, keep the best network of all episodes, fine-tune it
(--final-epochs, or --budget for search and fine-tune together), read the test split once and
export ONNX, torch.export and safetensors.

The folder of the run holds config.json, episodes.jsonl (one line an episode), tensorboard/,
policy/ and best/ (model.onnx, model.pt2, weights.safetensors, network.json, report.json,
sample.npz, network.png). Ctrl-C stops the search and keeps what was found: finish with
`prune-gym export RUN`, or continue with `prune-gym train --resume RUN`. A killed run is resumed
in the same way: at most the current episode is lost, and the result is that of a run that was not
interrupted.

Before the search, the export of the unpruned network is tried. If it fails, a warning says so and
the run goes on without model.onnx and model.pt2, or, with --require-export, is refused.

With --target every episode ends within the given costs, and the best network is the one with the
highest accuracy; without, it is the one with the highest score.

In Python: prune_gym.runs.Run(RunConfig(...)).start().
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "train", "search for a smaller network and export it", DESCRIPTION
    )
    parser.add_argument(
        "id",
        nargs="?",
        help="an environment, for example PruneResNet20-v0 (default with --network: Prune-v0)",
    )
    parser.add_argument("--agent", help="see `prune-gym list agents` (default l2pf)")
    parser.add_argument("--out", type=Path, help="folder of the run, new or empty")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run in --out")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="continue a run that was stopped or killed"
    )
    parser.add_argument("--seed", type=int, help="seed of agent and environment (default 0)")
    text = "a hyperparameter of the agent, for example --set candidates=8"
    add_pairs(parser, "--set", "NAME=VALUE", text)
    budget = parser.add_argument_group("limits (the first one that is reached ends the search)")
    budget.add_argument(
        "--episodes",
        type=int,
        help="finished episodes (default 10 if no limit and no budget is given)",
    )
    budget.add_argument(
        "--steps",
        type=int,
        help="steps, tried candidates included; the current episode is finished",
    )
    budget.add_argument("--search-macs", type=float, help="MACs, independent of the machine")
    budget.add_argument("--minutes", type=float, help="wall time")
    budget = parser.add_argument_group(
        "budget of the whole run (instead of --final-epochs; what the search leaves is trained)"
    )
    budget.add_argument(
        "--budget",
        type=float,
        metavar="EPOCHS",
        help="epoch-equivalents for search and final fine-tune together; 1 is what an epoch of "
        "training the unpruned network takes",
    )
    budget.add_argument(
        "--search-share",
        type=float,
        metavar="SHARE",
        help="share of the budget after which no further episode begins (default 1/3; agents "
        "without a search, such as l1, play one episode)",
    )
    parser.add_argument(
        "--final-epochs",
        type=float,
        help="epochs of the final fine-tune of the best network, with distillation (default 5)",
    )
    group = parser.add_argument_group("warm start (before the search, and outside its budget)")
    group.add_argument(
        "--warm-start", choices=("surrogate",), help="learn in the surrogate environment first"
    )
    group.add_argument(
        "--warm-start-episodes",
        type=int,
        default=50,
        help="episodes in the surrogate (default %(default)s)",
    )
    parser.add_argument(
        "--require-export",
        action="store_true",
        help="refuse a network that cannot be exported, before the search",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_environment(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run, and print the result."""
    from prune_gym.runs import Run

    if arguments.resume is not None:
        _check_resumable(arguments)
        more = {name: getattr(arguments, name) for name in ("final_epochs", "budget", "quiet")}
        report = Run.resume(arguments.resume, **limits(arguments), **more)
        print_report(report, arguments.resume)
        return 0
    config = _config(arguments)
    new = Run(config, arguments.quiet)
    if new.config.env_arguments != config.env_arguments:
        print(f"{config.agent} works only in the ALF mode, so action_mode=alf is set.")
    print_report(new.start(arguments.overwrite), new.folder)
    return 0


def limits(arguments: argparse.Namespace) -> dict[str, Any]:
    """The limits of the search that the command line gives."""
    macs, minutes = arguments.search_macs, arguments.minutes
    return {
        "episodes": arguments.episodes,
        "steps": arguments.steps,
        "search_macs": None if macs is None else int(macs),
        "seconds": None if minutes is None else minutes * 60,
    }


def _config(arguments: argparse.Namespace) -> "RunConfig":
    """The configuration that the command line gives."""
    from prune_gym import registration
    from prune_gym.errors import PruneGymError
    from prune_gym.runs import RunConfig

    env_id = arguments.id or (registration.ANY if arguments.network else "")
    for name, value in (
        ("the id of an environment (or --network)", env_id),
        ("--out", arguments.out),
    ):
        if not value:
            raise PruneGymError(
                f"{name} is missing: prune-gym train ID --out FOLDER, train --network NETWORK "
                "--dataset DATASET --out FOLDER, or train --resume RUN"
            )
    if arguments.warm_start and arguments.warm_start_episodes < 1:
        raise PruneGymError(
            f"--warm-start-episodes {arguments.warm_start_episodes} must be at least 1"
        )
    named = ("agent", "seed", "final_epochs", "budget", "search_share")
    given = {name: getattr(arguments, name) for name in named}
    return RunConfig(
        env_id,
        out=str(arguments.out),
        **limits(arguments),
        env_arguments=environment_settings(arguments),
        agent_options=parse_settings(arguments.set, "hyperparameter"),
        warm_start=arguments.warm_start_episodes if arguments.warm_start else 0,
        require_export=arguments.require_export,
        **{name: value for name, value in given.items() if value is not None},
    )


def _check_resumable(arguments: argparse.Namespace) -> None:
    """Refuse options that the run has decided."""
    from prune_gym.errors import PruneGymError

    decided = (
        *(
            "id",
            "out",
            "agent",
            "seed",
            "network",
            "dataset",
            "weights",
            "objective",
            "accelerator",
        ),
        *("device", "threads", "warm_start", "set", "env", "target", "overwrite", "mean", "std"),
        *("require_export", "search_share"),
    )
    given = [name for name in decided if getattr(arguments, name) not in (None, [], False)]
    if given:
        option = "an id" if given[0] == "id" else f"--{given[0].replace('_', '-')}"
        raise PruneGymError(
            f"--resume uses the run's own settings, so {option} is not allowed. Allowed: a new "
            "budget, --final-epochs, --quiet."
        )


def print_report(report: "Report", folder: Path) -> None:
    """Print the result of a run, and its files."""
    best = folder / "best"
    print(report.summary())
    print(
        f"search {report.search.wall_seconds:.0f} s, final fine-tune and export "
        f"{report.final_seconds:.0f} s"
    )
    print(f"wrote {best}: " + ", ".join(sorted(path.name for path in best.iterdir())))
