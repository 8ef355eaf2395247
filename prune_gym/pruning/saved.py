"""Save and load pruned networks: architecture and kept channels as JSON, weights as safetensors."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym import networks
from prune_gym.data import Normalization
from prune_gym.errors import WeightsError
from prune_gym.files import write_json
from prune_gym.networks import Network
from prune_gym.pruning import cut_spaces, dense
from prune_gym.trust import check as check_trusted
from prune_gym.trust import trusting
from prune_gym.weights import load_weights, save_weights

SCHEMA = 1
DESCRIPTION = "network.json"
WEIGHTS = "weights.safetensors"

Kept = Mapping[str, npt.NDArray[np.int64]]
"""Sorted indices of the kept channels in the unpruned network, per space."""


def masks_from_kept(network: Network, kept: Kept) -> dict[str, npt.NDArray[np.bool_]]:
    """Boolean masks of all spaces of an unpruned network; unlisted spaces keep all channels.

    Raises:
        ValueError: If the network has no such space, or channel indices are out of range or
            unsorted.
    """
    masks = {space.name: np.ones(space.channels, dtype=bool) for space in network.spaces}
    for name, indices in kept.items():
        if name not in masks:
            raise ValueError(f"{network.architecture} has no space {name!r}")
        index = np.asarray(indices, dtype=np.int64)
        fine = index.size and index[0] >= 0 and index[-1] < masks[name].size
        if not fine or np.any(np.diff(index) <= 0):
            raise ValueError(
                f"space {name!r}: kept channels must be sorted indices from 0 to "
                f"{masks[name].size - 1}"
            )
        masks[name][:] = False
        masks[name][index] = True
    return masks


def cut_to(network: Network, kept: Kept) -> Network:
    """Return the dense network with only the given channels of an unpruned network.

    Args:
        network: The unpruned network.
        kept: Kept channels. A space ``LAYER.code`` means that ALF replaced the convolution with a
            pair of layers (:mod:`prune_gym.alf`) that has this number of codes; the weights of the
            pair are uninitialised and must be loaded.

    Raises:
        ValueError: If the network has no such space, or channel indices are out of range or
            unsorted.
    """
    # Imported here because alf imports this package.
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
    """Write a network to a folder.

    Args:
        folder: Folder of the network, created if it does not exist. Existing ``network.json`` and
            ``weights.safetensors`` are replaced.
        network: The network, pruned or not.
        kept: Kept channels of the unpruned architecture.
        facts: Additional entries of the JSON file, for example metrics.

    Returns:
        ``folder``.
    """
    spaces = {name: {"kept": [int(index) for index in indices]} for name, indices in kept.items()}
    description = {
        "schema": SCHEMA,
        "architecture": network.architecture,
        "num_classes": network.num_classes,
        "input_shape": list(network.input_shape),
        "normalization": network.normalize.to_json(),
        "spaces": spaces,
        **(facts or {}),
    }
    # Remove the description first and write it last: a folder with a description is complete.
    (folder / DESCRIPTION).unlink(missing_ok=True)
    save_weights(network.module, folder / WEIGHTS)
    write_json(folder / DESCRIPTION, description)
    return folder


def load_network(folder: str | Path, trust: Iterable[str] = ()) -> tuple[Network, Kept]:
    """Read a network that :func:`save_network` wrote.

    Args:
        folder: Folder of the network. :func:`networks.build` must know the architecture; for other
            architectures, use :func:`load_network_into`.
        trust: Functions (``"package.module:function"``) that may be imported if the file names
            them.

    Returns:
        The network and its kept channels.

    Raises:
        WeightsError: If a file is missing, damaged or of another schema, or the weights do not
            fit the architecture.
        UntrustedError: If the file names a function that is not trusted.
    """
    folder = Path(folder)
    description = read_description(folder)
    channels, size, _ = description["input_shape"]
    classes, architecture = description["num_classes"], description["architecture"]
    with trusting(trust):
        check_trusted("network", architecture, networks.names(), repr(str(folder / DESCRIPTION)))
        base = networks.build(architecture, classes, size, channels)
    return load_network_into(folder, base), _kept_of(description)


def load_network_into(folder: str | Path, base: Network) -> Network:
    """Read a pruned network, given an unpruned network of the same architecture.

    Args:
        folder: Folder of the pruned network.
        base: The unpruned network; it is not changed.

    Raises:
        WeightsError: If a file is missing, damaged or of another schema, or does not fit ``base``.
    """
    folder = Path(folder)
    description = read_description(folder)
    try:
        network = cut_to(base, _kept_of(description))
    except ValueError as error:
        raise WeightsError(f"{str(folder / DESCRIPTION)!r} does not fit: {error}.") from error
    load_weights(network.module, folder / WEIGHTS)
    # Files of earlier versions name no normalisation.
    return replace(network, normalization=_normalization(description) or base.normalization)


def read_description(folder: str | Path) -> dict[str, Any]:
    """Read and check the JSON file of a saved network.

    Raises:
        WeightsError: If the file is missing, damaged or of another schema.
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
            f"{str(folder)!r} contains no saved network: {DESCRIPTION} is missing."
        ) from None
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{str(path)!r} is damaged ({error}).") from error
    if missing or description["schema"] != SCHEMA:
        raise WeightsError(
            f"{str(path)!r} does not have schema {SCHEMA}"
            + (f": {', '.join(sorted(missing))} missing." if missing else ".")
        )
    return description


def _normalization(description: Mapping[str, Any]) -> Normalization | None:
    value = description.get("normalization")
    try:
        return None if value is None else Normalization.from_json(value)
    except ValueError as error:
        raise WeightsError(f"The saved network cannot be read: {error}.") from error


def _kept_of(description: Mapping[str, Any]) -> Kept:
    try:
        return {
            name: np.asarray(space["kept"], dtype=np.int64)
            for name, space in description["spaces"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"The saved spaces cannot be read ({error!r}).") from error
