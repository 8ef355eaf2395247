"""``prune-gym profile``: costs of a network on an accelerator, layer by layer."""

import argparse
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command

DESCRIPTION = """\
Search the best mapping of every layer and print cycles, what bounds them, and energy by level,
with a total. NETWORK is an architecture (see `prune-gym list networks`), your own as
package.module:function, or the folder of a pruned network (or of the run that made it). Of two
networks the second is compared with the first.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "profile", "costs of a network on an accelerator, layer by layer", DESCRIPTION
    )
    parser.add_argument("network", metavar="NETWORK", help="architecture or folder")
    parser.add_argument("other", metavar="NETWORK", nargs="?", help="another one, to compare")
    parser.add_argument(
        "--accelerator", default="eyeriss", metavar="NAME|FILE", help="default: %(default)s"
    )
    parser.add_argument("--objective", default="latency", help="latency (default), energy or edp")
    parser.add_argument("--batch", type=int, default=1, help="images at a time (default: 1)")
    parser.add_argument(
        "--image-size", type=int, default=32, help="size of an architecture's images (default: 32)"
    )
    parser.add_argument(
        "--num-classes", type=int, default=10, help="outputs of an architecture (default: 10)"
    )
    parser.add_argument(
        "--format", choices=("table", "csv", "json"), default="table", help="default: %(default)s"
    )
    parser.add_argument("--loops", action="store_true", help="print each mapping as a loop nest")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the figure (.png, .svg)")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the costs; draw them with ``--plot``."""
    from hw_sim import evaluate_network, loop_nest, to_csv, to_json, to_table
    from prune_gym.costs import load_accelerator
    from prune_gym.profile import compare, layers_of

    if arguments.loops and arguments.format != "table":
        raise ValueError(f"--loops goes with the table, not with --format {arguments.format}")
    if arguments.other and arguments.format != "table":
        raise ValueError(
            f"--format {arguments.format} takes one network; profile {arguments.network!r} and "
            f"{arguments.other!r} one after the other, or compare them as a table."
        )
    accelerator = load_accelerator(arguments.accelerator)
    names = [name for name in (arguments.network, arguments.other) if name]
    sizes = (arguments.batch, arguments.image_size, arguments.num_classes)
    costs = [
        evaluate_network(layers_of(name, *sizes), accelerator, arguments.objective)
        for name in names
    ]
    if arguments.plot:
        from hw_sim.plot import cost_figure, save_figure

        save_figure(cost_figure(costs, names), arguments.plot)
    form = {"table": to_table, "csv": to_csv, "json": to_json}[arguments.format]
    for name, cost in zip(names, costs, strict=True):
        if arguments.format == "table":
            print(f"{name}:")
        print(form(cost), end="\n" if arguments.format == "table" else "")
        if arguments.loops:
            print("\n".join(loop_nest(layer) for layer in cost.layers))
    if len(costs) == 2 and arguments.format == "table":
        print(compare(*costs))
    return 0
