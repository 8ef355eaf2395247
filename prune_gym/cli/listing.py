"""``prune-gym list``: the names that the other commands take."""

import argparse

from prune_gym.cli.settings import Commands, add_command

LISTS = ("environments", "networks", "datasets", "agents", "accelerators", "objectives")


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "list",
        "list the available environments, networks, data sets, agents, accelerators, objectives",
    )
    parser.add_argument("what", nargs="?", choices=LISTS, help="one of the lists; all by default")
    return parser


def names_of(what: str) -> list[str]:
    """The names in one of ``LISTS``."""
    import hw_sim
    from prune_gym import costs, data, environment_ids, networks
    from prune_gym.runs import agents

    return {
        "environments": environment_ids,
        "networks": networks.names,
        "datasets": data.names,
        "agents": agents.names,
        "accelerators": lambda: list(hw_sim.presets()),
        "objectives": lambda: list(costs.OBJECTIVES),
    }[what]()


def run(arguments: argparse.Namespace) -> int:
    """Print the names, one a line."""
    if arguments.what:
        print("\n".join(names_of(arguments.what)))
        return 0
    for what in LISTS:
        print(f"{what}:")
        for name in names_of(what):
            print(f"  {name}")
    return 0
