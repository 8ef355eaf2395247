"""What all environments of one kind share: data, baseline, costs and repair references."""

import copy
import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing import parent_process
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.costs import CostModel
from prune_gym.data import Dataset, Split, load_dataset, normalize
from prune_gym.errors import UnknownNameError
from prune_gym.networks import Network
from prune_gym.networks import pretrained as baselines
from prune_gym.pruning import ChannelSpace, Geometry, check_spaces
from prune_gym.pruning.graph import Program
from prune_gym.pruning.repair import METHODS, LeastSquares
from prune_gym.training import EVALUATION_BATCH
from prune_gym.weights import tensors_of

ORDERS = ("forward", "backward")
SCOPES = ("inner", "all")
EVAL_IMAGES, REPAIR_IMAGES = 1000, 256
"""Sizes of the fixed subsets where nothing is asked for; of smaller splits all is taken."""


@dataclass(frozen=True)
class BaselineOptions:
    """The arguments of an environment that decide what can be shared.

    See :class:`prune_gym.envs.env.PruningEnv` for their meaning.
    """

    dataset: str | Dataset
    network: str | Network
    weights: str | None
    image_size: int
    accelerator: str
    accelerator_batch: int
    objective: str
    recovery: str
    eval_images: int | None
    repair_images: int | None
    device: str


class Baseline:
    """A baseline on its data, with everything that resets and steps only read.

    Args:
        options: The arguments.

    Raises:
        PruneGymError: Data or weights are missing or do not fit.
        ValueError: An argument is out of range or unknown.
    """

    def __init__(self, options: BaselineOptions) -> None:
        if options.recovery not in METHODS:
            raise UnknownNameError("recovery", options.recovery, METHODS)
        self.device = checked_device(options.device)
        self.options = options
        dataset = options.dataset
        if isinstance(dataset, str):
            dataset = load_dataset(dataset, image_size=options.image_size)
        self.dataset = dataset
        if isinstance(options.network, str):
            self.network = baselines.load(options.network, dataset, options.weights)
        else:
            # The user's own network stays as it is.
            module = copy.deepcopy(options.network.module)
            self.network = replace(options.network, module=module)
        check_spaces(self.network.module, self.network.spaces)
        shape, classes = tuple(dataset.train.images.shape[1:]), len(dataset.classes)
        if (tuple(self.network.input_shape), self.network.num_classes) != (shape, classes):
            raise ValueError(
                f"the network takes images of shape {tuple(self.network.input_shape)} and names "
                f"{self.network.num_classes} classes; {dataset.name!r} has {shape} and {classes}"
            )
        self.module = self.network.module.to(self.device).eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(True)
        self.geometry = Geometry(self.module, self.network.spaces, self.network.input_shape)
        self.costs = CostModel(
            self.geometry, options.accelerator, options.objective, options.accelerator_batch
        )
        self.train_split = dataset.train
        subset = _first(dataset.validation, options.eval_images, EVAL_IMAGES, "eval_images")
        self.eval_images = normalize(subset.images, self.device)
        self.eval_labels = subset.labels.to(self.device)
        subset = _first(dataset.train, options.repair_images, REPAIR_IMAGES, "repair_images")
        self.repair_images = normalize(subset.images, self.device)
        self.accuracy, activations = self.evaluate(self.module, self.network.spaces)
        self.activations = activations

    @functools.cached_property
    def weights_hash(self) -> str:
        """SHA-256 over the unpruned network's weights, by name."""
        digest = hashlib.sha256()
        for name, tensor in sorted(tensors_of(self.module).items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def least_squares(self) -> LeastSquares:
        """The refit with its references, computed when the first step needs them."""
        layers = {layer.name for layer in self.geometry.layers}
        consumers = [
            name for space in self.network.spaces for name in space.consumers if name in layers
        ]
        return LeastSquares(self.module, consumers, self.repair_images)

    def __getstate__(self) -> dict[str, Any]:
        # The calls are traced anew where a copy needs them.
        return {name: value for name, value in vars(self).items() if name != "program"}

    @functools.cached_property
    def program(self) -> Program:
        """The network as a list of calls, which the fast paths run.

        Raises:
            ProgramError: It cannot be taken apart.
        """
        return Program(self.module, self.network.spaces, self.eval_images[:8])

    @torch.no_grad()
    def evaluate(
        self, module: nn.Module, spaces: Sequence[ChannelSpace] = ()
    ) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
        """Accuracy on the fixed validation subset, and what some spaces carry meanwhile.

        Args:
            module: In ``eval`` mode.
            spaces: Spaces whose mean activations are wanted.

        Returns:
            The accuracy, 0 to 1, and for each space the mean over images and pixels of each
            channel behind its last follower, negative values counted as zero.
        """
        sums: dict[str, float | Tensor] = {space.name: 0.0 for space in spaces}
        modules = dict(module.named_modules())
        handles = []
        for space in spaces:

            def add(m: nn.Module, i: object, output: Tensor, name: str = space.name) -> None:
                sums[name] = sums[name] + channel_sums(output)

            last = (space.followers or space.producers)[-1]
            handles.append(modules[last].register_forward_hook(add))
        try:
            correct = 0
            for start in range(0, len(self.eval_labels), EVALUATION_BATCH):
                part = slice(start, start + EVALUATION_BATCH)
                predicted = module(self.eval_images[part]).argmax(1)
                correct += int((predicted == self.eval_labels[part]).sum())
        finally:
            for handle in handles:
                handle.remove()
        images = len(self.eval_labels)
        means = {
            name: (torch.as_tensor(total) / images).cpu().numpy().astype(np.float32)
            for name, total in sums.items()
        }
        return correct / images, means

    def cost_model(self, module: nn.Module, described: Sequence[ChannelSpace]) -> CostModel:
        """Costs of a network that was made of this baseline's, on the same accelerator.

        Args:
            module: The network.
            described: Its channel spaces; of the unpruned network's names the baseline's own model.
        """
        if {space.name for space in described} == set(self.geometry.counts()):
            return self.costs
        shape, costs = self.network.input_shape, self.costs
        geometry = Geometry(module, described, shape)
        return CostModel(geometry, costs.accelerator, costs.objective, costs.batch)

    def activation(self, space: ChannelSpace) -> npt.NDArray[np.float32]:
        """Mean activation of a space's channels in the unpruned network, shape (channels,).

        Args:
            space: One of the network's, or of its layers' outputs.
        """
        if space.name not in self.activations:
            self.activations |= self.evaluate(self.module, [space])[1]
        return self.activations[space.name]

    def visited(self, order: str, scope: str) -> tuple[ChannelSpace, ...]:
        """The spaces that an episode walks through.

        Raises:
            UnknownNameError: No such order or scope.
            ValueError: The scope leaves no space.
        """
        if order not in ORDERS:
            raise UnknownNameError("order", order, ORDERS)
        if scope not in SCOPES:
            raise UnknownNameError("scope", scope, SCOPES)
        spaces = [space for space in self.network.spaces if scope == "all" or not space.tied]
        if not spaces:
            raise ValueError("all channel spaces are tied; use scope='all'")
        return tuple(spaces if order == "forward" else reversed(spaces))


def channel_sums(output: Tensor) -> Tensor:
    """Sums over images, means over pixels, of the positive part; shape (channels,)."""
    positive = output.relu()
    return positive.mean(dim=(2, 3)).sum(0) if positive.dim() == 4 else positive.sum(0)


def _first(split: Split, asked: int | None, most: int, name: str) -> Split:
    """The first images of a split, which hold each class in its share of the whole."""
    count = min(most, len(split)) if asked is None else asked
    if not 1 <= count <= len(split):
        raise ValueError(f"{name}={count} must be 1 to {len(split)}, the images of the split")
    return Split(split.images[:count], split.labels[:count])


def checked_device(name: str) -> torch.device:
    """A device that is there.

    Raises:
        ValueError: It is unknown or not there; nothing else is used in its place.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} is not to be had on this machine: {error}") from error
    return device


def default_threads() -> int:
    """All cores in a main process, 1 in a worker process, where several run side by side."""
    return 1 if parent_process() is not None else os.cpu_count() or 1


@functools.lru_cache(maxsize=8)
def _shared_baseline(options: BaselineOptions, home: str) -> Baseline:
    return Baseline(options)


def shared_baseline(options: BaselineOptions) -> Baseline:
    """The baseline of these options, made once in a process where it is named by strings alone."""
    if isinstance(options.dataset, str) and isinstance(options.network, str):
        return _shared_baseline(options, os.environ.get("PRUNE_GYM_HOME", ""))
    return Baseline(options)
