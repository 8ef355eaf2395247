"""``prune-gym spaces``: what can be pruned of a network, and what cannot and why."""

import argparse
from typing import TYPE_CHECKING

from prune_gym.cli.settings import Commands, add_command

if TYPE_CHECKING:
    from prune_gym.networks import Network
    from prune_gym.pruning.derive import FixedChannels

DESCRIPTION = """\
Print the channel spaces of a network: channels that several layers share and that are kept or
removed together. A space has producers, which compute its channels, consumers, which read them,
and followers between the two. Below are the channels that stay whole, with the reason.

The share that can be pruned is the share of parameters and MACs that vanish if every space keeps
one channel.

NETWORK is an architecture (see `prune-gym list networks`), package.module:function,
torchvision:NAME, or the folder of a saved network.
"""
SHOWN = 3
"""Members of a role that are shown without ``--verbose``."""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "spaces", "what can be pruned of a network, and what cannot and why", DESCRIPTION
    )
    parser.add_argument("network", metavar="NETWORK", help="architecture, reference or folder")
    parser.add_argument("--dataset", help="take image size and classes from this data set")
    parser.add_argument(
        "--image-size", type=int, help="height and width of the images (default: 32)"
    )
    parser.add_argument(
        "--image-channels", type=int, default=3, help="3 for RGB (default), 1 for grey"
    )
    parser.add_argument("--num-classes", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--verbose", action="store_true", help="show all members of each space")
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Print the spaces."""
    import json

    network = _network(arguments)
    fixed = _fixed(network)
    shares = _shares(network)
    if arguments.json:
        print(json.dumps(_as_json(network, fixed, shares), indent=2))
    else:
        print(_as_text(network, fixed, shares, arguments.verbose))
    return 0


def _network(arguments: argparse.Namespace) -> "Network":
    from prune_gym import networks
    from prune_gym.data import load_dataset

    for name in ("image_size", "image_channels", "num_classes"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    size, classes = arguments.image_size or 32, arguments.num_classes
    channels = arguments.image_channels
    if arguments.dataset:
        dataset = load_dataset(arguments.dataset, image_size=size, image_channels=channels)
        channels, size, _ = dataset.train.images.shape[1:]
        classes = len(dataset.classes)
    return networks.build(arguments.network, classes, size, channels)


def _fixed(network: "Network") -> "tuple[FixedChannels, ...]":
    """What stays whole; empty if only hand-written spaces describe the network."""
    from prune_gym.pruning import derive
    from prune_gym.pruning.tracing import TraceError

    try:
        return derive(network.module, network.input_shape, verify=False).fixed
    except TraceError:
        return ()


def _shares(network: "Network") -> dict[str, float]:
    from prune_gym.pruning import Geometry

    geometry = Geometry(network.module, network.spaces, network.input_shape)
    least = {space.name: 1 for space in network.spaces}
    return {
        "params": 1 - geometry.params(least) / geometry.params(),
        "macs": 1 - geometry.macs(least) / max(geometry.macs(), 1),
    }


def _as_json(
    network: "Network", fixed: "tuple[FixedChannels, ...]", shares: dict[str, float]
) -> dict[str, object]:
    return {
        "network": network.architecture,
        "input_shape": list(network.input_shape),
        "num_classes": network.num_classes,
        "prunable": shares,
        "spaces": [
            {
                "name": space.name,
                "channels": space.channels,
                "producers": list(space.producers),
                "followers": list(space.followers),
                "consumers": list(space.consumers),
                "places": [
                    {"layer": p.layer, "side": p.side, "slots": p.slots.tolist()}
                    for p in space.places
                ],
            }
            for space in network.spaces
        ],
        "fixed": [vars(each) for each in fixed],
    }


def _as_text(
    network: "Network",
    fixed: "tuple[FixedChannels, ...]",
    shares: dict[str, float],
    verbose: bool,
) -> str:
    rows: list[tuple[str, ...]] = [("space", "channels", "producers", "followers", "consumers")]
    for space in network.spaces:
        roles = (space.producers, space.followers, space.consumers)
        rows.append((space.name, str(space.channels), *(_names(r, verbose) for r in roles)))
    image = " x ".join(str(size) for size in network.input_shape)
    lines = [f"{network.architecture}, images of {image}, {network.num_classes} classes", ""]
    lines += _aligned(rows)
    if fixed:
        lines += ["", "stays whole:"]
        reasons = [(str(f.channels), f.layer or "(network)", f.reason) for f in fixed]
        lines += _aligned([("channels", "layer", "reason"), *reasons])
    lines += [
        "",
        f"can be pruned: {shares['params']:.1%} of the parameters, "
        f"{shares['macs']:.1%} of the MACs",
    ]
    return "\n".join(lines)


def _names(layers: tuple[str, ...], verbose: bool) -> str:
    shown = layers if verbose or len(layers) <= SHOWN else layers[: SHOWN - 1]
    more = len(layers) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Rows with aligned columns; numbers are aligned to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    numbers = [all(row[c].isdigit() for row in rows[1:]) for c in range(len(widths))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
