"""``prune-gym profile``: what a network costs on an accelerator, layer by layer."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prune_gym.cli.settings import add_command

if TYPE_CHECKING:
    from hw_sim import ConvLayer, NetworkCost

DESCRIPTION = """\
Search the best mapping of every layer and print cycles, what bounds them, and energy by level,
with a total. NETWORK is an architecture (see `prune-gym list networks`), your own as
package.module:function, or the folder of a pruned network (or of the run that made it). Of two
networks the second is compared with the first.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "profile", "what a network costs on an accelerator, layer by layer", DESCRIPTION
    )
    parser.add_argument("network", metavar="NETWORK", help="architecture or folder")
    parser.add_argument("other", metavar="NETWORK", nargs="?", help="another one, to compare")
    parser.add_argument(
        "--accelerator", default="eyeriss", metavar="NAME|FILE", help="default: %(default)s"
    )
    parser.add_argument("--objective", default="latency", help="latency (default), energy or edp")
    parser.add_argument("--batch", type=int, default=1, help="images at a time (default: 1)")
    parser.add_argument(
        "--image-size", type=int, default=32, help="of an architecture's images (default: 32)"
    )
    parser.add_argument(
        "--num-classes", type=int, default=10, help="of an architecture's outputs (default: 10)"
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
        _plot(arguments.plot, names, costs)
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


def layers_of(
    name: str, batch: int = 1, image_size: int = 32, num_classes: int = 10
) -> "list[ConvLayer]":
    """The layers of a network as the accelerator runs them.

    Args:
        name: An architecture, ``"package.module:function"``, or the folder of a saved network or
            of a run.
        batch: Images at a time.
        image_size: Height and width of an architecture's images; a folder knows its own.
        num_classes: Outputs of an architecture; a folder knows its own.

    Raises:
        UnknownNameError: Neither an architecture nor a folder.
        PruneGymError: There is no such folder.
        WeightsError: The folder holds no network.
        ValueError: A size below 1.
    """
    from prune_gym import networks
    from prune_gym.errors import PruneGymError
    from prune_gym.pruning import Geometry
    from prune_gym.pruning.saved import DESCRIPTION as SAVED
    from prune_gym.pruning.saved import load_network

    for field, value in (
        ("batch", batch),
        ("image-size", image_size),
        ("num-classes", num_classes),
    ):
        if value < 1:
            raise ValueError(f"--{field} {value} must be at least 1.")
    folder = Path(name)
    if "/" in name and not folder.is_dir():
        raise PruneGymError(f"There is no folder {name!r} of a run or a saved network.")
    if folder.is_dir():
        if (folder / "best" / SAVED).is_file():
            folder = folder / "best"
        # As it is, for ALF puts two layers in the place of one.
        network, _ = load_network(folder)
    else:
        network = networks.build(name, num_classes, image_size)
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    return geometry.accelerator_layers({}, batch)


def compare(first: "NetworkCost", second: "NetworkCost") -> str:
    """What the second network costs of the first, per layer where both have as many."""
    lines = [f"{'second / first':<20}{'MACs':>8}{'cycles':>8}{'energy':>8}{'DRAM':>8}"]
    pairs: list[tuple[str, Any, Any]] = []
    if len(first.layers) == len(second.layers):
        matched = zip(first.layers, second.layers, strict=True)
        pairs = [(a.layer.name, a, b) for a, b in matched]
    pairs.append(("total", first, second))
    for name, a, b in pairs:
        ratios = (
            b.macs / a.macs,
            b.cycles / a.cycles,
            b.energy_fj / a.energy_fj,
            b.dram_words / a.dram_words,
        )
        lines.append(f"{name:<20}" + "".join(f"{ratio:>8.3f}" for ratio in ratios))
    return "\n".join(lines)


def _plot(path: Path, names: list[str], costs: "list[NetworkCost]") -> None:
    from hw_sim.plot import cost_figure, save_figure

    save_figure(cost_figure(costs, names), path)
