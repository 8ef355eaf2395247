"""``NAME=VALUE`` arguments of the command line, read as YAML and checked by name."""

import argparse
from collections.abc import Iterable
from typing import Any

import yaml

from prune_gym.errors import PruneGymError, UnknownNameError


def add_command(
    commands: Any, name: str, short: str, description: str | None = None
) -> argparse.ArgumentParser:
    """Add a command with its page of help.

    Args:
        commands: The subparsers of the main parser.
        name: The command's name.
        short: One line for the list of commands.
        description: The page of its own, lines kept; the one line by default.

    Returns:
        The command's parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=short,
        description=description or short,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser


def parse_settings(pairs: Iterable[str], what: str, known: Iterable[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE`` pairs.

    Args:
        pairs: From the command line; dashes in names stand for underscores.
        what: What is being set, for the error.
        known: The names that there are.

    Returns:
        Values as YAML reads them: numbers, true, null, words.

    Raises:
        PruneGymError: A pair without ``=``, or not YAML.
        UnknownNameError: No such name.
    """
    known = list(known)
    result: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise PruneGymError(f"{what} {pair!r} is not of the form NAME=VALUE, as {name}=0.5 is")
        if name not in known:
            raise UnknownNameError(what, name, known)
        try:
            result[name] = _number(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise PruneGymError(f"{pair!r}: the value is not readable ({error})") from error
    return result


def _number(value: Any) -> Any:
    """YAML 1.1 takes ``1e-3`` for a word; here it is a number, and ``1e9`` a whole one."""
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return int(number) if number.is_integer() else number


def environment_arguments() -> list[str]:
    """The arguments of :class:`prune_gym.envs.PruningEnv` that a command line can give."""
    from dataclasses import fields

    from prune_gym.envs.config import EnvConfig

    return [field.name for field in fields(EnvConfig)]


def add_environment_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that set the environment's arguments."""
    group = parser.add_argument_group("environment (arguments of prune_gym.envs.PruningEnv)")
    group.add_argument("--dataset", help="shapes, cifar10, cifar10:PATH or imagefolder:PATH")
    group.add_argument("--weights", help="a safetensors file in place of the baseline")
    group.add_argument("--objective", help="latency, energy, edp, macs or params")
    group.add_argument("--accelerator", help="a preset of hw_sim or a YAML file")
    group.add_argument(
        "--target",
        action="append",
        default=[],
        metavar="COST=SHARE",
        help="most of a cost, as a share of the unpruned network's; for example --target macs=0.26 "
        "--target latency=0.6; accuracy=DROP is the largest drop in validation accuracy",
    )
    group.add_argument("--device", help="cpu or cuda")
    group.add_argument("--threads", type=int, help="of torch; part of the record")
    group.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other argument, for example --env tolerance=0.1 --env order=backward",
    )


def environment_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """The environment's arguments that the command line gives."""
    from prune_gym.envs.config import TARGETS as NAMES

    named = ("dataset", "weights", "objective", "accelerator", "device", "threads")
    given = {name: getattr(arguments, name) for name in named}
    result = {name: value for name, value in given.items() if value is not None}
    if arguments.target:
        result["target"] = parse_settings(arguments.target, "target", NAMES)
    return result | parse_settings(arguments.env, "environment argument", environment_arguments())


def make_environment(name: str, settings: dict[str, Any]) -> Any:
    """Make an environment by id.

    Raises:
        UnknownNameError: No such id.
        PruneGymError: Data or weights are missing.
    """
    import gymnasium as gym

    from prune_gym import environment_ids

    if name not in gym.registry:
        raise UnknownNameError("environment", name, environment_ids())
    return gym.make(name, **settings)
