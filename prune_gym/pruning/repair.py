"""Repair a pruned network without labels: re-estimate batch norms, or refit consumers.

Accuracy immediately after a cut is almost uninformative. After a least-squares refit of the layers
that read the cut channels, it ranks networks correctly (reconstruction as in He et al. 2017,
"Channel Pruning for Accelerating Very Deep Neural Networks", equation 2; sampling and ridge are
this project's choice).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.pruning.rules import expand

METHODS = ("none", "bn", "lsq")
BATCH = 128


@torch.no_grad()
def reestimate_batch_norm(network: nn.Module, images: Tensor) -> None:
    """Set the running statistics of all batch norms to their mean over the images, in place.

    Args:
        network: The network; it is in ``eval`` mode afterwards.
        images: Normalised images, shape (N, 3, H, W), on the network's device.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # In torch, None means the plain mean over the batches.
    network.train()
    for start in range(0, len(images), BATCH):
        network(images[start : start + BATCH])
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


@dataclass(frozen=True)
class Reference:
    """Outputs of one layer of the unpruned network on the repair images.

    Args:
        rows: Sampled output rows; empty for a dense layer.
        columns: Sampled output columns, one per row.
        outputs: Outputs at the sampled positions, shape (images * samples, out channels), float32.
    """

    rows: Tensor
    columns: Tensor
    outputs: Tensor


class LeastSquares:
    """Refits layers so that their outputs match those of the unpruned network.

    The references are computed once, for all given layers.

    Args:
        network: The unpruned network, in ``eval`` mode.
        layers: Names of the convolutions and dense layers that may need a refit.
        images: Unlabelled repair images, normalised, shape (N, 3, H, W).
        samples: Number of sampled output positions per feature map, the same for all images.
        ridge: Strength of the regularisation towards the current weights, relative to the inputs'
            mean square.
    """

    def __init__(
        self,
        network: nn.Module,
        layers: Sequence[str],
        images: Tensor,
        samples: int = 32,
        ridge: float = 1e-3,
    ) -> None:
        self.images, self.ridge = images, ridge
        rng = np.random.default_rng(0)
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
        self.references = {
            name: Reference(*places.get(name, (none, none)), torch.cat(parts[name]))
            for name in layers
        }

    def refit(self, network: nn.Module, layer: str, kept: Tensor | None = None) -> int:
        """Refit the weights and bias of one layer, with one pass over the repair images.

        Args:
            network: The pruned network, in ``eval`` mode; the layer gets new parameters.
            layer: Name of the layer.
            kept: Indices of the layer's kept outputs in the unpruned network; None for all.

        Returns:
            MACs of the moments: rows x features x (features + outputs).
        """
        inputs = layer_inputs(network, network.get_submodule(layer), self.images)
        return self.solve(network, layer, self.moments(network, layer, inputs), kept)

    @torch.no_grad()
    def moments(self, network: nn.Module, layer: str, inputs: Iterable[Tensor]) -> "Moments":
        """Sum the products of a layer's inputs with each other and with the references.

        ``inputs`` yields the layer's inputs for the repair images, in batches.
        """
        module, reference = _layer(network, layer), self.references[layer]
        size = module.weight[0].numel() + (module.bias is not None)
        device = reference.outputs.device
        gram = torch.zeros(size, size, dtype=torch.float64, device=device)
        cross = torch.zeros(size, reference.outputs.shape[1], dtype=torch.float64, device=device)
        row = 0
        for part in inputs:
            features = _features(module, part, reference)
            gram += features.T @ features
            cross += features.T @ reference.outputs[row : row + len(features)].double()
            row += len(features)
        return Moments(gram, cross, row, module.bias is not None)

    @torch.no_grad()
    def solve(
        self, network: nn.Module, layer: str, moments: "Moments", kept: Tensor | None = None
    ) -> int:
        """Set the weights and bias of a layer to the least-squares solution of its moments.

        ``kept`` and the result are those of :meth:`refit`.
        """
        module = _layer(network, layer)
        cross = moments.cross if kept is None else moments.cross[:, kept]
        weights = module.weight.flatten(1)
        if module.bias is not None:
            weights = torch.cat([weights, module.bias[:, None]], dim=1)
        weights = weights.double().T
        gram = moments.gram.clone()
        residual = cross - gram @ weights
        # The ridge keeps the system positive definite. If all inputs are zero, nothing changes.
        strength = self.ridge * gram.diagonal().mean().clamp_min(1e-12)
        gram.diagonal().add_(strength)
        weights = weights + torch.cholesky_solve(residual, torch.linalg.cholesky(gram))
        fitted = weights.T.to(module.weight.dtype)
        # Networks may share the old parameters, so create new ones.
        if module.bias is not None:
            trained = module.bias.requires_grad
            module.bias = nn.Parameter(fitted[:, -1].contiguous(), requires_grad=trained)
            fitted = fitted[:, :-1]
        new = torch.empty_like(module.weight).copy_(fitted.reshape(module.weight.shape))
        module.weight = nn.Parameter(new, requires_grad=module.weight.requires_grad)
        size = len(gram)
        return moments.rows * size * (size + cross.shape[1])


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's inputs on the repair images, float64.

    Args:
        gram: Products of inputs with inputs, shape (features, features).
        cross: Products of inputs with references, shape (features, outputs of the unpruned layer).
        rows: Number of sampled positions in the sums.
        bias: Whether the last input is the constant 1.
    """

    gram: Tensor
    cross: Tensor
    rows: int
    bias: bool

    def of_channels(self, mask: npt.NDArray[np.bool_]) -> "Moments":
        """The exact moments of the input channels that a mask of shape (channels,) keeps."""
        repeat = (len(self.gram) - self.bias) // mask.size
        index = expand(torch.from_numpy(np.flatnonzero(mask)), repeat)
        if self.bias:
            index = torch.cat([index, torch.tensor([len(self.gram) - 1])])
        index = index.to(self.gram.device)
        return Moments(self.gram[index[:, None], index], self.cross[index], self.rows, self.bias)


def _layer(network: nn.Module, name: str) -> nn.Conv2d | nn.Linear:
    module = network.get_submodule(name)
    assert isinstance(module, nn.Conv2d | nn.Linear)
    return module


def _sample(
    rng: np.random.Generator, height: int, width: int, samples: int
) -> tuple[Tensor, Tensor]:
    places = rng.choice(height * width, min(samples, height * width), replace=False)
    places.sort()
    return torch.from_numpy(places // width), torch.from_numpy(places % width)


class _Reached(Exception):
    """Ends a forward pass at the selected layer."""


def layer_inputs(network: nn.Module, module: nn.Module, images: Tensor) -> Iterator[Tensor]:
    """Yield the inputs of one layer of a network in batches; a forward pass ends at the layer.

    Args:
        network: The network, in ``eval`` mode.
        module: The layer.
        images: Normalised images, shape (N, 3, H, W).
    """
    seen: list[Tensor] = []

    def stop(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        seen.append(args[0])
        raise _Reached

    for start in range(0, len(images), BATCH):
        handle = module.register_forward_pre_hook(stop)
        try:
            network(images[start : start + BATCH])
        except _Reached:
            pass
        finally:
            handle.remove()
        yield seen.pop()


def _features(module: nn.Conv2d | nn.Linear, inputs: Tensor, reference: Reference) -> Tensor:
    """Rows of the least-squares system, one per sampled output position, float64."""
    if isinstance(module, nn.Linear):
        features = inputs
    else:
        (height, width), stride = module.kernel_size, module.stride
        assert not isinstance(module.padding, str)
        (top, left) = module.padding
        padded = nn.functional.pad(inputs, (left, left, top, top))
        rows = reference.rows[:, None, None] * stride[0] + torch.arange(height)[:, None]
        columns = reference.columns[:, None, None] * stride[1] + torch.arange(width)
        # (N, C, samples, kh, kw) -> (N * samples, C * kh * kw)
        features = padded[:, :, rows, columns].transpose(1, 2).flatten(2).flatten(0, 1)
    features = features.double()
    if module.bias is not None:
        features = torch.cat([features, torch.ones_like(features[:, :1])], dim=1)
    return features
