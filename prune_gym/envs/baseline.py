"""The unpruned network with its data, costs and refit references, shared by environments."""

import copy
import functools
import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.batches import NormalizedImages, batch_size
from prune_gym.costs import CostModel
from prune_gym.data import Normalization, Split, load_dataset
from prune_gym.envs.config import EnvConfig
from prune_gym.errors import ExportError
from prune_gym.networks import Network, of_module, pretrained
from prune_gym.networks.checks import check_module
from prune_gym.pruning import ChannelSpace, Geometry, check_spaces, verify_spaces
from prune_gym.pruning.graph import Program
from prune_gym.pruning.repair import LeastSquares
from prune_gym.pruning.rows import has_rows
from prune_gym.pruning.rules import channel_dim
from prune_gym.training import EVALUATION_BATCH
from prune_gym.weights import load_weights, tensors_of

EVAL_IMAGES, REPAIR_IMAGES = 1000, 256
"""Default sizes of the fixed subsets; a smaller split is used whole."""


class Baseline:
    """The unpruned network on its data, with everything that steps read but do not change.

    Only the arguments of :meth:`prune_gym.envs.config.EnvConfig.shared` are used.

    Attributes:
        network: Unpruned network.
        module: Module of the network, in ``eval`` mode on the device.
        dataset: Data set of the network.
        geometry: Shapes of the network's layers.
        costs: Cost model of the network.
        accuracy: Accuracy on the validation subset, 0 to 1.
        activations: Mean activation of each channel, by space.

    Raises:
        PruneGymError: If data or weights are missing or do not fit.
        ValueError: If an argument is out of range.
    """

    def __init__(self, config: EnvConfig) -> None:
        self.device = checked_device(config.device)
        dataset = config.dataset
        if isinstance(dataset, str):
            dataset = load_dataset(
                dataset, image_size=config.image_size, image_channels=config.image_channels
            )
        self.dataset = dataset
        network = self._network(config)
        check_spaces(network.module, network.spaces)
        pretrained.check_fits(network, dataset)
        network.module.to(self.device).eval()
        check_module(network, self.device)
        if isinstance(config.network, Network):
            verify_spaces(network.module, network.spaces, network.input_shape)
        self.network = _with_readable_images(network, dataset.validation)
        self.module = self.network.module
        if not any(parameter.requires_grad for parameter in self.module.parameters()):
            raise ValueError(
                "all parameters of the network are frozen, so it cannot be fine-tuned; call "
                "requires_grad_(True) on the module, or on the layers to fine-tune"
            )
        self.geometry = Geometry(self.module, self.network.spaces, self.network.input_shape)
        self.costs = CostModel(
            self.geometry, config.accelerator, config.objective, config.accelerator_batch
        )
        self.train_split = dataset.train
        subset = _first(dataset.validation, config.eval_images, EVAL_IMAGES, "eval_images")
        self.eval_images = self._images(subset)
        self.eval_labels = subset.labels.to(self.device)
        subset = _first(dataset.train, config.repair_images, REPAIR_IMAGES, "repair_images")
        self.repair_images = self._images(subset)
        self.accuracy, self.activations = self.evaluate(self.module, self.network.spaces)

    def _network(self, config: EnvConfig) -> Network:
        """The unpruned network; one that the user passes is copied."""
        given = config.network
        if isinstance(given, str):
            return pretrained.load(given, self.dataset, config.weights, config.normalization)
        given = copy.deepcopy(given)
        if not isinstance(given, Network):
            shape = tuple(self.dataset.train.images.shape[1:])
            given = of_module(given, len(self.dataset.classes), (shape[0], shape[1], shape[2]))
        if config.weights is not None:
            load_weights(given.module, Path(config.weights))
        return pretrained.with_normalization(given, config.normalization)

    def _images(self, split: Split) -> NormalizedImages:
        """Images as the network takes them, on its device."""
        return NormalizedImages(split.images.to(self.device), self.network.normalize, self.device)

    @functools.cached_property
    def weights_hash(self) -> str:
        """SHA-256 of the unpruned network's weights, and of a normalisation of its own."""
        digest = hashlib.sha256()
        for name, tensor in sorted(tensors_of(self.module).items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        normalize = self.network.normalize
        if normalize != Normalization.default(normalize.channels):
            digest.update(json.dumps(normalize.to_json()).encode())
        return digest.hexdigest()

    @functools.cached_property
    def least_squares(self) -> LeastSquares:
        """The least-squares refit; its references are computed when the first step needs them."""
        consumers = [name for space in self.network.spaces for name in space.consumers]
        layers = [name for name in consumers if has_rows(self.module.get_submodule(name))]
        return LeastSquares(self.module, layers, self.repair_images)

    @functools.cached_property
    def export_error(self) -> ExportError | None:
        """Why the unpruned network cannot be exported; None if it can."""
        from prune_gym.export import check_exportable

        try:
            check_exportable(self.network, self.dataset.validation)
        except ExportError as error:
            return error
        return None

    def __getstate__(self) -> dict[str, Any]:
        # A copy traces the network again when it needs the program.
        return {name: value for name, value in vars(self).items() if name != "program"}

    @functools.cached_property
    def program(self) -> Program:
        """The network as a list of calls, for the fast paths.

        Raises:
            ProgramError: If the network cannot be traced.
        """
        return Program(self.module, self.network.spaces, self.eval_images[:8])

    @torch.no_grad()
    def evaluate(
        self, module: nn.Module, spaces: Sequence[ChannelSpace] = ()
    ) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
        """Accuracy on the fixed validation subset, and mean activations of the given spaces.

        Args:
            module: Network in ``eval`` mode.
            spaces: Spaces whose mean activations are computed.

        Returns:
            The accuracy, 0 to 1, and for each space the mean over images and pixels of each
            channel after its last follower; negative values count as zero.
        """
        sums: dict[str, float | Tensor] = {space.name: 0.0 for space in spaces}
        modules = dict(module.named_modules())
        handles = []
        for space in spaces:

            def add(m: nn.Module, i: object, output: Tensor, space: ChannelSpace = space) -> None:
                sums[space.name] = sums[space.name] + channel_sums(space, m, output)

            handles.append(modules[watched_layer(space)].register_forward_hook(add))
        try:
            correct = 0
            size = batch_size(self.eval_images, EVALUATION_BATCH)
            labels = self.eval_labels.split(size)
            for part, truth in zip(self.eval_images.split(size), labels, strict=True):
                correct += int((module(part).argmax(1) == truth).sum())
        finally:
            for handle in handles:
                handle.remove()
        images = len(self.eval_labels)
        means = {
            name: (torch.as_tensor(total) / images).cpu().numpy().astype(np.float32)
            for name, total in sums.items()
        }
        return correct / images, means

    def cost_model(self, module: nn.Module, spaces: Sequence[ChannelSpace]) -> CostModel:
        """The cost model of a network that was derived from this one, on the same accelerator.

        If the spaces have the same names as those of the unpruned network, it is :attr:`costs`.
        """
        if {space.name for space in spaces} == set(self.geometry.counts()):
            return self.costs
        return self.costs.of_geometry(Geometry(module, spaces, self.network.input_shape))

    def activation(self, space: ChannelSpace) -> npt.NDArray[np.float32]:
        """Mean activation of a space's channels in the unpruned network, shape (channels,)."""
        if space.name not in self.activations:
            self.activations |= self.evaluate(self.module, [space])[1]
        return self.activations[space.name]


@torch.no_grad()
def _with_readable_images(network: Network, split: Split) -> Network:
    """The network with a memory format of the images that its ``view`` calls can read."""
    device = next(network.module.parameters()).device
    try:
        network.module(network.normalize(split.images[:2], device))
    except RuntimeError as error:
        if "view size is not compatible" not in str(error):
            raise
        normalization = replace(network.normalize, channels_last=False)
        return replace(network, normalization=normalization)
    return network


def watched_layer(space: ChannelSpace) -> str:
    """The layer whose outputs are the space's activations: its last follower."""
    return (space.followers or space.producers)[-1]


def channel_sums(space: ChannelSpace, layer: nn.Module, output: Tensor) -> Tensor:
    """Positive part of a space's activations, summed over images: shape (channels,).

    Pixels, tokens and the slots of a channel are averaged. ``output`` is the output of ``layer``,
    which has the type and name of :func:`watched_layer`, or of a ReLU behind it.
    """
    positive = output.relu()
    if positive.dim() > 2:
        slots = channel_dim(layer, positive)
        positive = positive.mean([d for d in range(1, positive.dim()) if d != slots])
    sums = positive.sum(0)
    return sums[space.slots(watched_layer(space), "out", len(sums))].mean(1)


def _first(split: Split, size: int | None, most: int, name: str) -> Split:
    """The first images of a split, in which classes are as frequent as in the whole split."""
    count = min(most, len(split)) if size is None else size
    if not 1 <= count <= len(split):
        raise ValueError(
            f"{name}={count} must be 1 to {len(split)}, the number of images in the split"
        )
    return Split(split.images[:count], split.labels[:count])


def checked_device(name: str) -> torch.device:
    """The device of this name; ValueError if it is unknown or not available on this machine."""
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} is not available on this machine: {error}") from error
    return device


def default_threads() -> int:
    """Number of cores in a main process; 1 in a worker process, since several run at a time."""
    return 1 if parent_process() is not None else os.cpu_count() or 1


_SHARED: OrderedDict[tuple[Any, ...], Baseline] = OrderedDict()
SHARED = 8
"""Maximum number of baselines in the cache of a process."""


def shared_baseline(config: EnvConfig) -> Baseline:
    """The baseline of a configuration, from a cache if network and data are given by name."""
    if not (isinstance(config.dataset, str) and isinstance(config.network, str)):
        return Baseline(config)
    key = (*config.shared(), os.environ.get("PRUNE_GYM_HOME", ""))
    if key not in _SHARED:
        _SHARED[key] = Baseline(config)
        if len(_SHARED) > SHARED:
            _SHARED.popitem(last=False)
    _SHARED.move_to_end(key)
    return _SHARED[key]
