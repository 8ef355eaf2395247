"""Checks of a network that would otherwise fail late, or compute nonsense."""

import torch
from torch import Tensor

from prune_gym.errors import WeightsError
from prune_gym.networks import Network


@torch.no_grad()
def check_module(network: Network, device: torch.device | str = "cpu") -> None:
    """Check weights and outputs of a network, which is on ``device`` and in ``eval`` mode.

    Raises:
        WeightsError: If a layer is quantised, or a tensor is not float32, or contains NaN or
            infinity.
        ValueError: If the outputs are not one tensor of shape (N, classes).
    """
    for name, module in network.module.named_modules():
        if type(module).__module__.startswith(("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.q")):
            raise WeightsError(
                f"{network.architecture}: the layer {name!r} is quantised, but networks are "
                "trained in float32; prune the network first, then quantise it."
            )
    for name, tensor in network.module.state_dict().items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            continue
        if tensor.dtype != torch.float32:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise WeightsError(
                f"{network.architecture}: {name!r} is {kind}, but networks are trained in "
                "float32; call float() on the module."
            )
        if not torch.isfinite(tensor).all():
            raise WeightsError(
                f"{network.architecture}: the weights contain NaN or infinity in {name!r}; load or "
                "train them again."
            )
    outputs = network.module(torch.zeros(2, *network.input_shape, device=device))
    if not isinstance(outputs, Tensor):
        raise ValueError(
            f"{network.architecture}: the module returns a {type(outputs).__name__}; it must "
            "return the logits alone, so wrap it or switch its other outputs off"
        )
    if outputs.shape != (2, network.num_classes):
        raise ValueError(
            f"{network.architecture}: the module returns shape {tuple(outputs.shape)} for two "
            f"images, not (2, {network.num_classes}), the logits of {network.num_classes} classes"
        )
