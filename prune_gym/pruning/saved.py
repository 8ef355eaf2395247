"""Save and load pruned networks: architecture and kept channels as JSON, weights as safetensors."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Meta
from torch import nn

from prune_gym import manifest, networks
from prune_gym.data import Normalization
from prune_gym.errors import SHOWN, PruneGymError, WeightsError
from prune_gym.files import write_atomically, write_json
from prune_gym.jsonfile import Amount, Count, JsonRecord, Whole, read_json
from prune_gym.networks import Network
from prune_gym.pruning import cut_spaces, dense
from prune_gym.pruning.as_data import NetworkData, NoDataError, from_data, to_data
from prune_gym.pruning.tracing import TraceError
from prune_gym.trust import is_trusted, trusting
from prune_gym.weights import load_weights, read_shapes, save_weights

SCHEMA = 1
DESCRIPTION = "network.json"
WEIGHTS = "weights.safetensors"

GRAPH = "graph.json"
LARGEST_IMAGE = 2048
"""Pixels in height and width of the images of a saved network; more would be an error or attack."""

ImageSize = Annotated[int, Meta(ge=1, le=LARGEST_IMAGE)]
Kept = Mapping[str, npt.NDArray[np.int64]]
"""Sorted indices of the kept channels in the unpruned network, per space."""


@dataclass(frozen=True)
class KeptChannels:
    """Kept channels of a space."""

    kept: tuple[Count, ...]


@dataclass(frozen=True)
class Description(JsonRecord):
    """The content of ``network.json``; further entries are allowed.

    Args:
        architecture: Name by which the unpruned network is built.
        num_classes: Number of classes.
        input_shape: Channels, height and width of an image.
        spaces: Kept channels of each space of the unpruned network.
        normalization: Normalisation of the images.
        source_needed: Why the network could not be written as data; None if it was or need not be.
        final_epochs: Epochs of the final fine-tune; None before it.
    """

    SCHEMA = SCHEMA
    PARTIAL = True

    architecture: str
    num_classes: Whole
    input_shape: tuple[Whole, ImageSize, ImageSize]
    spaces: Mapping[str, KeptChannels]
    normalization: Mapping[str, Any] | None = None
    source_needed: str | None = None
    final_epochs: Amount | None = None

    @property
    def kept(self) -> Kept:
        """Kept channels of each space."""
        return {name: np.array(each.kept, dtype=np.int64) for name, each in self.spaces.items()}


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

    A network that needs the user's own source to be built is written as data, too
    (:mod:`prune_gym.pruning.as_data`), if that is possible: it can then be opened without the
    source.

    Args:
        folder: Folder of the network, created if it does not exist. Existing files of the same
            names are replaced.
        network: The network, pruned or not.
        kept: Kept channels of the unpruned architecture.
        facts: Additional entries of the JSON file, for example metrics.

    Returns:
        ``folder``.
    """
    known = networks.is_known(network.architecture)
    data, reason = (None, None) if known else _as_data(network)
    description = Description(
        architecture=network.architecture,
        num_classes=network.num_classes,
        input_shape=network.input_shape,
        normalization=network.normalize.to_json(),
        spaces={name: KeptChannels(tuple(map(int, each))) for name, each in kept.items()},
        source_needed=reason,
    )
    # Remove the description first and write it last: a folder with a description is complete.
    manifest.unseal(folder)
    for name in (DESCRIPTION, GRAPH):
        (folder / name).unlink(missing_ok=True)
    save_weights(network.module, folder / WEIGHTS)
    if data is not None:
        text = json.dumps(data.to_json(), allow_nan=False)
        write_atomically(folder / GRAPH, lambda path: path.write_text(text, encoding="utf-8"))
    write_json(folder / DESCRIPTION, {**description.to_json(), **(facts or {})})
    manifest.seal(folder)
    return folder


def _as_data(network: Network) -> tuple[NetworkData | None, str | None]:
    """A network as data, or the reason why that is impossible."""
    try:
        return to_data(network.module, network.spaces), None
    except (NoDataError, TraceError) as error:
        return None, str(error)[:SHOWN]


def load_network(folder: str | Path, trust: Iterable[str] = ()) -> tuple[Network, Kept]:
    """Read a network that :func:`save_network` wrote.

    A built-in or installed architecture, one of torchvision and a trusted function are built. Any
    other network is made from its data, without its source.

    Args:
        folder: Folder of the network.
        trust: Functions (``"package.module:function"``) that may be imported if the file names
            them.

    Returns:
        The network and its kept channels.

    Raises:
        WeightsError: If a file is missing, damaged or of another schema, or the weights do not
            fit the architecture.
        UntrustedError: If the network can be built only by a function that is not trusted.
    """
    folder = Path(folder)
    description = _checked(folder)
    _check_sizes(folder, description)
    architecture, (channels, size, _) = description.architecture, description.input_shape
    with trusting(trust):
        built = networks.is_known(architecture) or is_trusted(architecture)
        if not built and (folder / GRAPH).is_file():
            return _from_data(folder, description), description.kept
        where = repr(str(folder / DESCRIPTION))
        if description.source_needed:
            where += f" (not saved as data: {description.source_needed})"
        networks.check_trusted(architecture, where)
        base = networks.build(architecture, description.num_classes, size, channels)
    return _into(folder, description, base), description.kept


def load_network_into(folder: str | Path, base: Network) -> Network:
    """Read a pruned network, given an unpruned network of the same architecture.

    Args:
        folder: Folder of the pruned network.
        base: The unpruned network; it is not changed.

    Raises:
        WeightsError: If a file is missing, damaged or of another schema, or does not fit ``base``.
    """
    folder = Path(folder)
    return _into(folder, _checked(folder), base)


def _into(folder: Path, description: Description, base: Network) -> Network:
    try:
        network = cut_to(base, description.kept)
    except ValueError as error:
        raise WeightsError(f"{str(folder / DESCRIPTION)!r} does not fit: {error}.") from error
    load_weights(network.module, folder / WEIGHTS)
    # Files of earlier versions name no normalisation.
    return replace(network, normalization=_normalization(description) or base.normalization)


def _checked(folder: Path) -> Description:
    """The description of a network whose files are about to be read, and checked by it."""
    return read_description(folder, (WEIGHTS, GRAPH))


def read_description(folder: str | Path, others: Sequence[str] = ()) -> Description:
    """Read and check the JSON file of a saved network, and its checksum if there is one.

    Args:
        folder: Folder of the network.
        others: Names of further files whose checksums are compared, if they are there.

    Raises:
        WeightsError: If a file is missing, damaged or of another schema.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    if not path.is_file():
        raise WeightsError(f"{str(folder)!r} contains no saved network: {DESCRIPTION} is missing.")
    try:
        if manifest.sealed(folder):
            names = [DESCRIPTION, *(name for name in others if (folder / name).is_file())]
            manifest.check(folder, "Save the network again, or restore its folder.", names)
        return Description.from_json(*read_json(path))
    except WeightsError:
        raise
    except PruneGymError as error:
        raise WeightsError(str(error)) from error


def _check_sizes(folder: Path, description: Description) -> None:
    """Hold the sizes of a description against the weights, before anything is built.

    Raises:
        WeightsError: If they do not fit together.
    """
    path, classes = folder / DESCRIPTION, description.num_classes
    shapes = read_shapes(folder / WEIGHTS)
    if not any(classes in shape for shape in shapes.values()):
        raise WeightsError(
            f"{str(path)!r}: num_classes={classes}, but no tensor of {WEIGHTS} has this size: "
            "the files do not belong together. Save the network again."
        )
    widest = max((dim for shape in shapes.values() for dim in shape), default=0)
    for name, space in description.spaces.items():
        if len(space.kept) > widest:
            raise WeightsError(
                f"{str(path)!r}: space {name[:SHOWN]!r} keeps {len(space.kept)} channels, but no "
                f"tensor of {WEIGHTS} has as many: the files do not belong together."
            )


def _from_data(folder: Path, description: Description) -> Network:
    """A network from its data; its sizes are held against the weights before they are taken."""
    path = folder / GRAPH
    shapes = read_shapes(folder / WEIGHTS)
    try:
        data = NetworkData.from_json(*read_json(path))
        with torch.device("meta"):
            bare, spaces = from_data(data)
        for name, tensor in bare.state_dict().items():
            if tensor.dim() and shapes.get(name) != tuple(tensor.shape):
                raise WeightsError(f"{name!r} is of another shape in {WEIGHTS}")
        module, spaces = from_data(data)
    except PruneGymError as error:
        raise WeightsError(f"{str(path)!r} does not fit: {error}.") from error
    load_weights(module, folder / WEIGHTS)
    _run_once(module, description, path)
    return Network(
        description.architecture,
        module.eval(),
        spaces,
        description.input_shape,
        description.num_classes,
        _normalization(description),
    )


@torch.no_grad()
def _run_once(module: nn.Module, description: Description, path: Path) -> None:
    """Refuse a network whose calls fail, or that returns other outputs than described."""
    try:
        outputs = module.eval()(torch.zeros(1, *description.input_shape))
    except Exception as error:  # torch raises many types for calls that cannot be
        line = str(error).partition("\n")[0]
        raise WeightsError(f"{str(path)!r} does not fit: its calls fail ({line}).") from error
    if not isinstance(outputs, torch.Tensor) or outputs.shape != (1, description.num_classes):
        raise WeightsError(
            f"{str(path)!r} does not fit: it does not return {description.num_classes} logits."
        )


def _normalization(description: Description) -> Normalization | None:
    value = description.normalization
    try:
        return None if value is None else Normalization.from_json(value)
    except ValueError as error:
        raise WeightsError(f"The saved network cannot be read: {error}.") from error
