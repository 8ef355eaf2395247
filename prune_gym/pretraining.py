"""Trains a baseline, or a pruned network's shape from scratch."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from prune_gym import networks
from prune_gym.data import Dataset, Normalization, load_dataset
from prune_gym.envs.baseline import checked_device, default_threads
from prune_gym.errors import PruneGymError
from prune_gym.files import sha256, write_json
from prune_gym.networks import Network, pretrained
from prune_gym.provenance import machine, versions
from prune_gym.pruning.saved import cut_to, load_network
from prune_gym.training import TrainingOptions, split_accuracy, train
from prune_gym.weights import load_weights, save_weights


@dataclass(frozen=True)
class Pretraining:
    """How an unpruned network is trained.

    Args:
        network: Name of the architecture (``prune-gym list networks``).
        dataset: Name of the data set (``prune-gym list datasets``).
        image_size: Height and width to which the images of a folder are resized.
        image_channels: Channels of the images of a folder, 3 (RGB) or 1 (grey).
        normalization: Normalisation of the images; None for the network's own.
        init: File of weights to start from; None for random weights.
        shape: Folder of a pruned network whose channels the new network has; it replaces
            ``network``, and needs ``out``.
        epochs: Epochs of the training.
        learning_rate: Peak of the one-cycle schedule.
        batch_size: Number of images in a mini-batch.
        seed: Seed of the weights, the image order and the augmentation.
        device: Device of the network.
        threads: Number of torch threads; all cores by default.
        out: Safetensors file; by default it is in the cache folder, where environments find it.
        overwrite: Whether to replace the baseline in the cache folder.
        test: Whether to measure the test split at the end.
        half: Whether to write 16-bit weights; the accuracy is that of the rounded weights.

    Raises:
        PruneGymError: If a value is out of range, or the values do not fit together.
    """

    network: str = "resnet20"
    dataset: str = "shapes"
    image_size: int = 32
    image_channels: int = 3
    normalization: Normalization | None = None
    init: Path | None = None
    shape: Path | None = None
    epochs: float = 20.0
    learning_rate: float = 0.2
    batch_size: int = 128
    seed: int = 0
    device: str = "cpu"
    threads: int | None = None
    out: Path | None = None
    overwrite: bool = False
    test: bool = False
    half: bool = False

    def __post_init__(self) -> None:
        if self.shape is not None and (self.out is None or self.init is not None):
            raise PruneGymError(
                "shape needs out (--out), and starts from random weights (no --init)"
            )
        for name, value, least, most in (
            ("epochs", self.epochs, 0, 10_000),
            ("learning_rate", self.learning_rate, 0, 1e9),
            ("batch_size", self.batch_size, 1, 1_000_000),
            ("threads", self.threads or 1, 0, 1024),
        ):
            if not least < value <= most:
                raise PruneGymError(f"{name}={value} must be above {least}, at most {most:,}")
        if self.out is not None and (self.out.suffix != ".safetensors" or self.out.is_dir()):
            raise PruneGymError(f"out={str(self.out)!r} must be the name of a .safetensors file")

    @property
    def options(self) -> TrainingOptions:
        """Options of the training."""
        return TrainingOptions(
            batch_size=self.batch_size, learning_rate=self.learning_rate, schedule="one_cycle"
        )


@dataclass(frozen=True)
class Pretrained:
    """Weights with their recipe (a JSON file of the same name), and accuracies, 0 to 1."""

    path: Path
    validation_accuracy: float
    test_accuracy: float | None


def pretrain(config: Pretraining, quiet: bool = False) -> Pretrained:
    """Train a network, write its weights and its recipe.

    Raises:
        PruneGymError: If there is a baseline already, data or weights are missing, or the training
            diverges.
    """
    device = checked_device(config.device)
    threads = config.threads or default_threads()
    torch.set_num_threads(threads)
    dataset = load_dataset(
        config.dataset, image_size=config.image_size, image_channels=config.image_channels
    )
    path = _path(config, dataset)
    network = _network(config, dataset)
    module = network.module.to(device)
    batches = max(1, round(config.epochs * len(dataset.train.labels) / config.batch_size))
    with tqdm(total=batches, unit="batch", file=sys.stderr, disable=quiet) as bar:

        def progress(batch: int, loss: float) -> None:
            bar.update(1)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        generator = torch.Generator().manual_seed(config.seed)
        train(
            module,
            dataset.train,
            batches,
            generator,
            config.options,
            progress=progress,
            normalization=network.normalize,
        )
    if not all(bool(torch.isfinite(p).all()) for p in module.state_dict().values()):
        raise PruneGymError(
            "The training diverged (NaN or infinity in the weights); nothing was written. Use a "
            f"smaller learning rate than {config.learning_rate} (--learning-rate)."
        )
    if config.half:
        module.half().float()  # the accuracy is that of the rounded weights
    found = Pretrained(
        path,
        split_accuracy(module, dataset.validation, device, network.normalize),
        split_accuracy(module, dataset.test, device, network.normalize) if config.test else None,
    )
    recipe: dict[str, Any] = {
        "architecture": network.architecture,
        "dataset": dataset.name if dataset.name == "shapes" else dataset.key,
        "dataset_fingerprint": dataset.fingerprint,
        "options": vars(config.options) | {"epochs": config.epochs, "seed": config.seed},
        "threads": threads,
        "normalization": network.normalize.to_json(),
        "init_sha256": sha256(config.init) if config.init else None,
        "validation_accuracy": found.validation_accuracy,
        "versions": versions(),
        "machine": machine(str(device)),
    }
    if config.test:
        recipe["test_accuracy"] = found.test_accuracy
    save_weights(module, path, half=config.half)
    write_json(path.with_suffix(".json"), {**recipe, "sha256": sha256(path)})
    return found


def _path(config: Pretraining, dataset: Dataset) -> Path:
    """The file of the weights; an earlier baseline is replaced only if that is asked for."""
    name = pretrained.stem(config.network, dataset.key) + ".safetensors"
    path = config.out or pretrained.cache_folder() / name
    if config.out is None and path.exists() and not config.overwrite:
        raise PruneGymError(
            f"There is a baseline of {config.network} for these images: {path}. Runs that started "
            "from it could not be resumed with another. Use it, add --overwrite to replace it, or "
            "name another file (--out; environments take it as --weights)."
        )
    return path


def _network(config: Pretraining, dataset: Dataset) -> Network:
    """The network to train, with its first weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        architecture, kept, normalization = config.network, None, config.normalization
        if config.shape is not None:
            shape, kept = load_network(config.shape)
            architecture, normalization = shape.architecture, normalization or shape.normalization
            # New weights need the function that the file names.
            networks.check_trusted(architecture, repr(str(config.shape)))
        channels = dataset.train.images.shape[1]
        classes = len(dataset.classes)
        network = networks.build(architecture, classes, config.image_size, channels)
        network = pretrained.with_normalization(network, normalization)
        pretrained.check_fits(network, dataset)
        if kept is not None:
            network = cut_to(network, kept)
    if config.init is not None:
        load_weights(network.module, config.init)
    return network
