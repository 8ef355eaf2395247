"""A pruned network on disk: architecture and kept channels as JSON, weights as safetensors."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym import networks
from prune_gym.errors import WeightsError
from prune_gym.files import write_json
from prune_gym.networks import Network
from prune_gym.pruning import cut_spaces, dense
from prune_gym.weights import load_weights, save_weights

SCHEMA = 1
DESCRIPTION = "network.json"
WEIGHTS = "weights.safetensors"

Kept = Mapping[str, npt.NDArray[np.int64]]
"""For each space the kept channels' numbers in the unpruned network, rising."""


def masks_from_kept(network: Network, kept: Kept) -> dict[str, npt.NDArray[np.bool_]]:
    """Boolean masks of an unpruned network's spaces; spaces not named are kept whole.

    Raises:
        ValueError: A space that the network has not, or channels out of range or order.
    """
    masks = {space.name: np.ones(space.channels, dtype=bool) for space in network.spaces}
    for name, indices in kept.items():
        if name not in masks:
            raise ValueError(f"{network.architecture} has no space {name!r}")
        index = np.asarray(indices, dtype=np.int64)
        fine = index.size and index[0] >= 0 and index[-1] < masks[name].size
        if not fine or np.any(np.diff(index) <= 0):
            raise ValueError(
                f"space {name!r}: kept channels must rise within 0..{masks[name].size - 1}"
            )
        masks[name][:] = False
        masks[name][index] = True
    return masks


def cut_to(network: Network, kept: Kept) -> Network:
    """The dense network that keeps only these channels of an unpruned one.

    Args:
        network: The unpruned network.
        kept: Kept channels. A space ``LAYER.code`` that the network has not says that ALF took
            the convolution apart (:mod:`prune_gym.alf`): it becomes a pair of layers with so many
            codes, whose weights are still to be loaded.

    Raises:
        ValueError: Another space that the network has not, or channels out of range or order.
    """
    # Here, as surgery stands below ALF.
    from prune_gym.alf.convert import pair_up

    known = {space.name for space in network.spaces}
    codes = {name: len(indices) for name, indices in kept.items() if name not in known}
    if codes:
        network = pair_up(network, codes)
        kept = {name: indices for name, indices in kept.items() if name in known}
    masks = masks_from_kept(network, kept)
    module = dense(network.module, network.spaces, masks)
    return replace(network, module=module, spaces=cut_spaces(network.spaces, masks))


def save_network(
    folder: Path, network: Network, kept: Kept, facts: Mapping[str, Any] | None = None
) -> Path:
    """Write a (pruned) network to a folder.

    Args:
        folder: Made if need be; its ``network.json`` and ``weights.safetensors`` are replaced.
        network: The network as it is now.
        kept: Its channels' numbers in the unpruned architecture.
        facts: More to keep in the JSON file, for example metrics.

    Returns:
        ``folder``.
    """
    spaces = {name: {"kept": [int(index) for index in indices]} for name, indices in kept.items()}
    description = {
        "schema": SCHEMA,
        "architecture": network.architecture,
        "num_classes": network.num_classes,
        "input_shape": list(network.input_shape),
        "spaces": spaces,
        **(facts or {}),
    }
    # The description goes first and comes last: a folder that has one is whole.
    (folder / DESCRIPTION).unlink(missing_ok=True)
    save_weights(network.module, folder / WEIGHTS)
    write_json(folder / DESCRIPTION, description)
    return folder


def load_network(folder: str | Path) -> tuple[Network, Kept]:
    """Read a network that :func:`save_network` wrote.

    Args:
        folder: Its folder. The architecture must be one that :func:`networks.build` knows; for
            another one pass the unpruned network to :func:`load_network_into`.

    Returns:
        The network and its kept channels.

    Raises:
        WeightsError: A file is missing, damaged, of another schema, or does not fit.
    """
    folder = Path(folder)
    description = read_description(folder)
    size = description["input_shape"][1]
    base = networks.build(description["architecture"], description["num_classes"], size)
    return load_network_into(folder, base), _kept_of(description)


def load_network_into(folder: str | Path, base: Network) -> Network:
    """Read a pruned network's weights into an unpruned network of the same architecture.

    Args:
        folder: The pruned network's folder.
        base: The unpruned network; it is not changed.

    Returns:
        The pruned network.

    Raises:
        WeightsError: A file is missing, damaged, of another schema, or does not fit.
    """
    folder = Path(folder)
    description = read_description(folder)
    try:
        network = cut_to(base, _kept_of(description))
    except ValueError as error:
        raise WeightsError(f"{str(folder / DESCRIPTION)!r} does not fit: {error}.") from error
    load_weights(network.module, folder / WEIGHTS)
    return network


def read_description(folder: str | Path) -> dict[str, Any]:
    """The JSON of a saved network, checked.

    Raises:
        WeightsError: It is missing, damaged or of another schema.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
        missing = {"schema", "architecture", "num_classes", "input_shape", "spaces"} - set(
            description
        )
    except FileNotFoundError:
        raise WeightsError(
            f"{str(folder)!r} holds no network: there is no {DESCRIPTION}."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{str(path)!r} is damaged ({error}).") from error
    if missing or description["schema"] != SCHEMA:
        raise WeightsError(
            f"{str(path)!r} is not of schema {SCHEMA}"
            + (f": it lacks {', '.join(sorted(missing))}." if missing else ".")
        )
    return description


def _kept_of(description: Mapping[str, Any]) -> Kept:
    try:
        return {
            name: np.asarray(space["kept"], dtype=np.int64)
            for name, space in description["spaces"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"The saved spaces cannot be read ({error!r}).") from error
