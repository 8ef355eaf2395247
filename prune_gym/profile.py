"""Costs of a network on an accelerator, layer by layer."""

import os
from pathlib import Path

from hw_sim import ConvLayer, LayerCost, NetworkCost
from prune_gym import networks
from prune_gym.errors import PruneGymError
from prune_gym.pruning import Geometry
from prune_gym.pruning.saved import DESCRIPTION, load_network


def layers_of(
    name: str, batch: int = 1, image_size: int = 32, num_classes: int = 10
) -> list[ConvLayer]:
    """The layers of a network as the accelerator runs them.

    Args:
        name: Name of an architecture, ``"package.module:function"``, or the folder of a saved
            network or of a run, which have their own image size and classes.
        batch: Number of images at a time.
        image_size: Height and width of an architecture's images.
        num_classes: Outputs of an architecture.

    Raises:
        UnknownNameError: If the name is neither an architecture nor a folder.
        PruneGymError: If there is no such folder.
        WeightsError: If the folder holds no network.
        ValueError: If a size is below 1.
    """
    sizes = {"batch": batch, "image_size": image_size, "num_classes": num_classes}
    for field, value in sizes.items():
        if value < 1:
            raise ValueError(f"{field}={value} must be at least 1.")
    folder = Path(name)
    if "/" in name and not os.path.isdir(name):
        raise PruneGymError(f"There is no folder {name!r} of a run or a saved network.")
    if os.path.isdir(name):
        if (folder / "best" / DESCRIPTION).is_file():
            folder = folder / "best"
        # As it is, because ALF replaces one layer with two.
        network, _ = load_network(folder)
    else:
        network = networks.build(name, num_classes, image_size)
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    return geometry.accelerator_layers({}, batch)


def compare(first: NetworkCost, second: NetworkCost) -> str:
    """The second network's costs over the first's, for each layer if both have as many layers."""
    lines = [f"{'second / first':<20}{'MACs':>8}{'cycles':>8}{'energy':>8}{'DRAM':>8}"]
    pairs: list[tuple[str, LayerCost | NetworkCost, LayerCost | NetworkCost]] = []
    if len(first.layers) == len(second.layers):
        matched = zip(first.layers, second.layers, strict=True)
        pairs = [(a.layer.name, a, b) for a, b in matched]
    for name, a, b in (*pairs, ("total", first, second)):
        figures = ("macs", "cycles", "energy_fj", "dram_words")
        ratios = (getattr(b, figure) / getattr(a, figure) for figure in figures)
        lines.append(f"{name:<20}" + "".join(f"{ratio:>8.3f}" for ratio in ratios))
    return "\n".join(lines)
