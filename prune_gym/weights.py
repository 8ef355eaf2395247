"""Weights as safetensors: read with checks, written atomically, never pickled."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prune_gym.errors import WeightsError
from prune_gym.files import write_atomically

# Batch norm counts its batches only to average over all of them, which nothing here does.
_SKIPPED = "num_batches_tracked"


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, on the CPU, contiguous, without batch counters."""
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith(_SKIPPED)
    }


def save_weights(network: nn.Module, path: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write a network's weights to a safetensors file.

    Args:
        network: The network.
        path: The file.
        metadata: Words to keep in the file's header.

    Returns:
        ``path``.
    """
    tensors = tensors_of(network)
    return write_atomically(path, lambda temporary: save_file(tensors, temporary, metadata))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        WeightsError: It is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"There is no weights file {str(path)!r}.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"The weights file {str(path)!r} is damaged or not safetensors ({error}). "
            "Make it or fetch it again."
        ) from error


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file into a network, all names and shapes matching.

    Args:
        network: Changed in place.
        path: The file.

    Raises:
        WeightsError: It is missing, damaged, holds NaN, or does not fit the network.
    """
    tensors = read_weights(path)
    own = network.state_dict()
    wanted = {name for name in own if not name.endswith(_SKIPPED)}
    given = {name for name in tensors if not name.endswith(_SKIPPED)}
    if wanted != given:
        odd = sorted(wanted ^ given)
        raise WeightsError(
            f"The weights in {str(path)!r} are of another network: {len(wanted - given)} tensors "
            f"are missing, {len(given - wanted)} are not needed; the first: {odd[0]!r}."
        )
    for name in sorted(wanted):
        if tensors[name].shape != own[name].shape:
            raise WeightsError(
                f"The weights in {str(path)!r} do not fit: {name!r} has shape "
                f"{tuple(tensors[name].shape)}, the network {tuple(own[name].shape)}."
            )
        if not torch.isfinite(tensors[name]).all():
            raise WeightsError(f"The weights in {str(path)!r} hold NaN or infinity in {name!r}.")
    network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)
