"""Repair after a cut, without labels: batch norm re-estimated, or consumers refitted.

Accuracy right after a cut says almost nothing; after a least-squares refit of the layers that
read the cut channels it ranks networks rightly (reconstruction as in He et al. 2017, "Channel
Pruning for Accelerating Very Deep Neural Networks", equation 2; sampling and ridge are this
project's choice).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

METHODS = ("none", "bn", "lsq")
BATCH = 128


@torch.no_grad()
def reestimate_batch_norm(network: nn.Module, images: Tensor) -> None:
    """Set the running statistics of all batch norms to their mean over these images, in place.

    Args:
        network: Left in ``eval`` mode.
        images: Normalised, shape (N, 3, H, W), on the network's device.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's way to say: the plain mean over the batches
    network.train()
    for start in range(0, len(images), BATCH):
        network(images[start : start + BATCH])
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@dataclass(frozen=True)
class Target:
    """What the unpruned network's layer puts out on the repair images.

    Args:
        rows: Sampled output rows; empty for a dense layer.
        columns: Sampled output columns, as many.
        outputs: Shape (images * samples, out channels), float32.
    """

    rows: Tensor
    columns: Tensor
    outputs: Tensor


class _Reached(Exception):
    """Ends a forward pass at the layer of interest."""


class LeastSquares:
    """Refits layers so that they put out what they did in the unpruned network.

    The targets are computed once, for all layers that consume a space.

    Args:
        network: The unpruned network, in ``eval`` mode.
        layers: Names of its convolutions and dense layers that may need a refit.
        images: Unlabelled repair images, normalised, shape (N, 3, H, W).
        samples: Output positions sampled of each feature map, the same for all images.
        ridge: Pull towards the present weights, relative to the inputs' mean square.
        seed: Of the sampled positions.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        images: Tensor,
        samples: int = 32,
        ridge: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.images = images
        self.ridge = ridge
        rng = np.random.default_rng(seed)
        parts: dict[str, list[Tensor]] = {name: [] for name in layers}
        places: dict[str, tuple[Tensor, Tensor]] = {}

        def keep(name: str, output: Tensor) -> None:
            if output.dim() == 4:
                if name not in places:
                    places[name] = _sample(rng, output.shape[2], output.shape[3], samples)
                rows, columns = places[name]
                output = output[:, :, rows, columns].transpose(1, 2).flatten(0, 1)
            parts[name].append(output.clone())

        modules = dict(network.named_modules())
        handles = [
            modules[name].register_forward_hook(lambda m, i, output, name=name: keep(name, output))
            for name in layers
        ]
        try:
            with torch.no_grad():
                for start in range(0, len(images), BATCH):
                    network(images[start : start + BATCH])
        finally:
            for handle in handles:
                handle.remove()
        none = torch.empty(0, dtype=torch.int64)
        self.targets = {
            name: Target(*places.get(name, (none, none)), torch.cat(parts[name])) for name in layers
        }

    @torch.no_grad()
    def refit(self, network: nn.Module, layer: str, kept: Tensor | None = None) -> int:
        """Refit one layer's weights (and bias) in place.

        Args:
            network: The cut network, in ``eval`` mode.
            layer: The layer's name.
            kept: The layer's output channels that are left, as numbers in the unpruned network;
                None where all are.

        Returns:
            MACs of the moments: rows x features x (features + outputs).
        """
        module = dict(network.named_modules())[layer]
        assert isinstance(module, nn.Conv2d | nn.Linear)
        target = self.targets[layer]
        outputs = target.outputs if kept is None else target.outputs[:, kept]
        size = module.weight[0].numel() + (module.bias is not None)
        device = outputs.device
        gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        residual = torch.zeros(size, outputs.shape[1], dtype=torch.float64, device=device)
        weights = module.weight.flatten(1)
        if module.bias is not None:
            weights = torch.cat([weights, module.bias[:, None]], dim=1)
        weights = weights.double().T
        row = 0
        for start in range(0, len(self.images), BATCH):
            inputs = _inputs(network, module, self.images[start : start + BATCH])
            features = _features(module, inputs, target)
            wanted = outputs[row : row + len(features)].double()
            row += len(features)
            gram += features.T @ features
            residual += features.T @ (wanted - features @ weights)
        # The ridge keeps the system positive definite; a layer whose inputs are all zero stays.
        strength = self.ridge * gram.diagonal().mean().clamp_min(1e-12)
        gram.diagonal().add_(strength)
        weights = weights + torch.cholesky_solve(residual, torch.linalg.cholesky(gram))
        fitted = weights.T.to(module.weight.dtype)
        if module.bias is not None:
            module.bias.copy_(fitted[:, -1])
            fitted = fitted[:, :-1]
        module.weight.copy_(fitted.reshape(module.weight.shape))
        return row * size * (size + outputs.shape[1])


def _sample(
    rng: np.random.Generator, height: int, width: int, samples: int
) -> tuple[Tensor, Tensor]:
    places = rng.choice(height * width, min(samples, height * width), replace=False)
    places.sort()
    return torch.from_numpy(places // width), torch.from_numpy(places % width)


def _inputs(network: nn.Module, module: nn.Module, images: Tensor) -> Tensor:
    """The layer's input; the forward pass ends there."""
    seen: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])
        raise _Reached

    handle = module.register_forward_pre_hook(stop)
    try:
        network(images)
    except _Reached:
        pass
    finally:
        handle.remove()
    return seen[0]


def _features(module: nn.Conv2d | nn.Linear, inputs: Tensor, target: Target) -> Tensor:
    """The rows of the least-squares system, float64: one a sampled output position."""
    if isinstance(module, nn.Linear):
        features = inputs
    else:
        (height, width), stride = module.kernel_size, module.stride
        assert not isinstance(module.padding, str)
        (top, left) = module.padding
        padded = nn.functional.pad(inputs, (left, left, top, top))
        rows = target.rows[:, None, None] * stride[0] + torch.arange(height)[:, None]
        columns = target.columns[:, None, None] * stride[1] + torch.arange(width)
        # (N, C, samples, kh, kw) -> (N * samples, C * kh * kw)
        features = padded[:, :, rows, columns].transpose(1, 2).flatten(2).flatten(0, 1)
    features = features.double()
    if module.bias is not None:
        features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    return features
