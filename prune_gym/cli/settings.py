"""What the commands' parsers share."""

import argparse
from typing import TYPE_CHECKING, Any

from prune_gym.settings import parse_settings

if TYPE_CHECKING:
    from prune_gym.data import Normalization

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


def add_command(
    commands: Commands, name: str, short: str, description: str | None = None
) -> argparse.ArgumentParser:
    """Add a command with a line in the list of commands and its own page of help."""
    form = argparse.RawDescriptionHelpFormatter
    text = description or short
    parser = commands.add_parser(name, help=short, description=text, formatter_class=form)
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="NAME",
        help="code of your own, package.module:object, that may be imported if a file names it; "
        "what you name yourself needs no trust",
    )
    return parser


def add_environment(parser: argparse.ArgumentParser) -> None:
    """Add the options that set the environment's arguments."""
    group = parser.add_argument_group("environment (arguments of prune_gym.envs.PruningEnv)")
    group.add_argument(
        "--network",
        help="a name of `prune-gym list networks`, package.module:function, torchvision:NAME, or "
        "the folder of a saved network",
    )
    group.add_argument("--dataset", help="shapes, cifar10, cifar10:PATH or imagefolder:PATH")
    group.add_argument(
        "--weights", help="a file that replaces the baseline: .safetensors, or .pth and .pt"
    )
    add_normalization(group)
    group.add_argument("--objective", help="latency, energy, edp, macs or params")
    group.add_argument("--accelerator", help="a preset of hw_sim or a YAML file")
    add_pairs(
        group,
        "--target",
        "COST=SHARE",
        "largest cost, as a share of the unpruned network's; for example --target macs=0.26 "
        "--target latency=0.6; accuracy=DROP is the largest drop in validation accuracy",
    )
    group.add_argument("--device", help="cpu or cuda")
    group.add_argument("--threads", type=int, help="torch threads; part of the record")
    text = "any other argument, for example --env tolerance=0.1 --env order=backward"
    add_pairs(group, "--env", "NAME=VALUE", text)


def add_normalization(group: argparse._ActionsContainer) -> None:
    """Add the options for the normalisation of the images."""
    group.add_argument(
        "--mean",
        type=_numbers,
        metavar="M,M,M",
        help="mean of each channel, of images in [0, 1], with which the network was trained",
    )
    group.add_argument(
        "--std", type=_numbers, metavar="S,S,S", help="standard deviation of each channel"
    )


def normalization(arguments: argparse.Namespace) -> "Normalization | None":
    """The normalisation that the command line gives.

    Raises:
        PruneGymError: If only one of mean and deviation is given.
        ValueError: If their values do not fit together.
    """
    from prune_gym.data import Normalization
    from prune_gym.errors import PruneGymError

    if (arguments.mean is None) != (arguments.std is None):
        raise PruneGymError("--mean and --std belong together: give both, or neither")
    return None if arguments.mean is None else Normalization(arguments.mean, arguments.std)


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(value) for value in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be numbers with commas, one a channel, such as 0.5,0.5,0.5"
        ) from None


def add_pairs(group: argparse._ActionsContainer, option: str, metavar: str, text: str) -> None:
    """Add an option that can be given several times, for :func:`parse_settings`."""
    group.add_argument(option, action="append", default=[], metavar=metavar, help=text)


def environment_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The environment's arguments that the command line gives."""
    from dataclasses import fields

    from prune_gym.envs.config import TARGETS, EnvConfig

    named = ("network", "dataset", "weights", "objective", "accelerator", "device", "threads")
    given = {name: getattr(arguments, name) for name in named}
    result = {name: value for name, value in given.items() if value is not None}
    if (given_normalization := normalization(arguments)) is not None:
        result["normalization"] = given_normalization.to_json()
    if arguments.target:
        result["target"] = parse_settings(arguments.target, "target", TARGETS)
    known = [field.name for field in fields(EnvConfig)]
    return result | parse_settings(arguments.env, "environment argument", known)
