"""Read and write weights as safetensors: checked, atomic, without pickles."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from prune_gym.errors import WeightsError
from prune_gym.files import write_atomically

# Batch norm needs its batch counter only for cumulative averages, which this project does not use.
_SKIPPED = "num_batches_tracked"


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name: contiguous, on the CPU, without batch counters."""
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in network.state_dict().items()
        if not name.endswith(_SKIPPED)
    }


def save_weights(network: nn.Module, path: Path) -> Path:
    """Write a network's weights to a safetensors file."""
    tensors = tensors_of(network)
    return write_atomically(path, lambda temporary: save_file(tensors, temporary))


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        WeightsError: If the file is missing or damaged.
    """
    if not path.is_file():
        raise WeightsError(f"The weights file {str(path)!r} does not exist.")
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"The weights file {str(path)!r} is damaged or not in safetensors format ({error}). "
            "Create or download it again."
        ) from error


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a safetensors file into a network, in place; all names and shapes must match.

    Raises:
        WeightsError: If the file is missing or damaged, contains NaN or infinity, or does not fit
            the network.
    """
    tensors = read_weights(path)
    own = network.state_dict()
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
    network.load_state_dict({name: tensors[name] for name in wanted}, strict=False)
