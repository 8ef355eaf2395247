"""Read and write weights: safetensors, and torch's files of a user; atomic, without pickles."""

import json
import pickle
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prune_gym.errors import WeightsError
from prune_gym.files import write_atomically

# Batch norm needs its batch counter only for cumulative averages, which this project does not use.
_SKIPPED = "num_batches_tracked"
TORCH_SUFFIXES = (".pth", ".pt")
"""Suffixes of files that ``torch.save`` wrote."""
WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Names under which training scripts save the weights beside other values."""
_PARALLEL = "module."
"""Beginning of all names if ``nn.DataParallel`` was saved."""
_SHARED = "shared"
"""Entry of a safetensors file's metadata: further names of tensors that are saved once."""


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name: contiguous, on the CPU, without batch counters.

    A tensor that several layers share is returned under its first name.
    """
    shared = shared_names(network)
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith(_SKIPPED) and name not in shared
    }


def shared_names(network: nn.Module) -> dict[str, str]:
    """For each further name of a parameter or buffer its first name; empty if none is shared."""
    first: dict[int, str] = {}
    shared = {}
    for name, tensor in network.state_dict(keep_vars=True).items():
        known = first.setdefault(id(tensor), name)
        if known != name and not name.endswith(_SKIPPED):
            shared[name] = known
    return shared


def save_weights(network: nn.Module, path: Path, half: bool = False) -> Path:
    """Write a network's weights to a safetensors file, with ``half`` rounded to 16 bits."""
    tensors, shared = _apart(tensors_of(network)), shared_names(network)
    if half:
        tensors = {
            name: tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in tensors.items()
        }
    metadata = {_SHARED: json.dumps(shared)} if shared else None
    return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights: safetensors, or by its suffix (``TORCH_SUFFIXES``) torch's format.

    A file of torch is read without unpickling objects. It holds a ``state_dict``, or a table with
    one under a name in ``WRAPPERS``; the names may all begin with ``module.`` (``DataParallel``).

    Returns:
        Tensors by name; those that layers share, which a safetensors file holds once, have all
        their names.

    Raises:
        WeightsError: If the file is missing or damaged, or holds anything else.
    """
    if not path.is_file():
        raise WeightsError(f"The weights file {str(path)!r} does not exist.")
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    with _opened(path) as (_, shared):
        tensors = load_file(path)
        return tensors | {name: tensors[first] for name, first in shared.items()}


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, dict[str, str]]]:
    """A safetensors file, and for each further name of a tensor its first; errors name the file."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {}).get(_SHARED, "{}"))
    except (SafetensorError, OSError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(
            f"The weights file {str(path)!r} is damaged or not in safetensors format ({error}). "
            "Create or download it again."
        ) from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes in a safetensors file, by all names of the tensors; no tensor is read.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"The weights file {str(path)!r} does not exist.")
    with _opened(path) as (file, shared):
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        return shapes | {name: shapes[first] for name, first in shared.items()}


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a file of weights into a network, in place; all names and shapes must match.

    Raises:
        WeightsError: If the file is missing or damaged, contains NaN or infinity, or does not fit
            the network; the message names the first tensor that does not fit.
    """
    tensors = read_weights(path)
    own, shared = network.state_dict(), shared_names(network)
    for name, first in shared.items():
        # A shared tensor may have been saved under one of its names only.
        for one, other in ((name, first), (first, name)):
            if one in tensors:
                tensors.setdefault(other, tensors[one])
    wanted = {name for name in own if not name.endswith(_SKIPPED)}
    given = {name for name in tensors if not name.endswith(_SKIPPED)}
    if wanted != given:
        odd = sorted(wanted ^ given)
        raise WeightsError(
            f"The weights in {str(path)!r} belong to another network: {len(wanted - given)} "
            f"tensors are missing and {len(given - wanted)} are unexpected, for example {odd[0]!r}."
        )
    for name in sorted(wanted):
        if tensors[name].shape != own[name].shape:
            raise WeightsError(
                f"The weights in {str(path)!r} do not fit: {name!r} has shape "
                f"{tuple(tensors[name].shape)}, but the network needs {tuple(own[name].shape)}."
            )
        if not torch.isfinite(tensors[name]).all():
            raise WeightsError(f"The weights in {str(path)!r} contain NaN or infinity in {name!r}.")
    for name, first in shared.items():
        if not torch.equal(tensors[name], tensors[first]):
            raise WeightsError(
                f"The weights in {str(path)!r} do not fit: {name!r} and {first!r} differ, but they "
                "are one parameter of the network."
            )
    network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors that lie in the memory of another, which safetensors refuses."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return result


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Read a file that ``torch.save`` wrote; ``weights_only`` refuses every other object."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle's version; what is refused has an error
            value = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"The weights file {str(path)!r} holds other objects than tensors, which could run "
            "code when they are read. Save model.state_dict() alone."
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise WeightsError(
            f"The weights file {str(path)!r} is damaged or not of torch.save "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}). "
            "Create or download it again."
        ) from error
    for wrapper in WRAPPERS:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
            break
    if not isinstance(value, Mapping) or not value:
        raise WeightsError(
            f"The weights file {str(path)!r} holds a {type(value).__name__}, not the tensors of a "
            "network by name. Save model.state_dict()."
        )
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(
                f"The weights file {str(path)!r} holds {name!r}, which is no tensor. Save "
                f"model.state_dict() alone, or under one of the names {', '.join(WRAPPERS)}."
            )
    if all(name.startswith(_PARALLEL) for name in value):
        return {name.removeprefix(_PARALLEL): tensor for name, tensor in value.items()}
    return dict(value)
