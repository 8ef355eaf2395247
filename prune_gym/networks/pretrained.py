"""Trained, unpruned networks: shipped with the package or trained with ``prune-gym pretrain``."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch

from prune_gym import files, networks
from prune_gym.data import Dataset, Normalization
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.jsonfile import read_json
from prune_gym.networks import Network
from prune_gym.weights import load_weights


class NoBaselineError(WeightsError):
    """Nobody has trained a baseline of this architecture for these images."""


SHIPPED = Path(__file__).parents[1] / "pretrained"


def stem(architecture: str, dataset_key: str) -> str:
    """File name of a baseline without suffix."""
    name = architecture.replace(":", "-").replace("/", "-").strip("-")
    return f"{name}-{dataset_key}"


def cache_folder() -> Path:
    """Folder of the baselines that ``prune-gym pretrain`` writes."""
    return files.home() / "baselines"


def find(architecture: str, dataset: Dataset) -> Path:
    """Find the weights of a baseline; the user's own baselines take precedence over shipped ones.

    Args:
        architecture: Name of the architecture.
        dataset: Data set that the baseline was trained on.

    Returns:
        Path of a safetensors file with a valid checksum; a JSON file of the same name holds its
        training recipe.

    Raises:
        WeightsError: If there is no baseline, it is damaged, or it was trained on other images.
    """
    name = stem(architecture, dataset.key)
    for folder in (cache_folder(), SHIPPED):
        weights = folder / f"{name}.safetensors"
        if weights.is_file():
            _check_recipe(weights, dataset)
            return weights
    channels, _, pixels = dataset.train.images.shape[1:]
    size = "" if pixels == 32 else f" --image-size {pixels}"
    size += "" if channels == 3 else f" --image-channels {channels}"
    raise NoBaselineError(
        f"There is no baseline of {architecture!r} for {dataset.name!r}. Train one with "
        f"prune-gym pretrain --network {architecture} --dataset {shlex.quote(dataset.name)}{size} "
        "(add --init FILE to start from existing weights)."
    )


def read_recipe(weights: Path) -> dict[str, Any]:
    """Read the training recipe of a baseline.

    Raises:
        WeightsError: If the JSON file next to the weights is missing or damaged.
    """
    path = weights.with_suffix(".json")
    try:
        recipe: dict[str, Any] = read_json(path)[0]
    except (OSError, ValueError, PruneGymError) as error:
        raise WeightsError(
            f"The baseline's recipe {str(path)!r} is missing or damaged ({error}). "
            "Run prune-gym pretrain again."
        ) from error
    return recipe


def _check_recipe(weights: Path, dataset: Dataset) -> None:
    recipe = read_recipe(weights)
    if recipe.get("sha256") != files.sha256(weights):
        raise WeightsError(
            f"The checksum of {str(weights)!r} differs from its recipe: the file is damaged. "
            "Run prune-gym pretrain again, or reinstall prune_gym if the file is part of it."
        )
    if recipe.get("dataset_fingerprint") != dataset.fingerprint:
        raise WeightsError(
            f"{str(weights)!r} was trained on images that differ from those of {dataset.name!r}. "
            "Run prune-gym pretrain again."
        )


def load(
    architecture: str,
    dataset: Dataset,
    weights: str | Path | None = None,
    normalization: Normalization | None = None,
) -> Network:
    """Build a network and load its trained weights.

    Args:
        architecture: Name that :func:`prune_gym.networks.build` knows.
        dataset: Data set, which determines the number of classes, the image size and the baseline.
        weights: File of weights to load instead of the baseline
            (:func:`prune_gym.weights.read_weights`). With None and without a baseline, a function
            or a folder is used with the weights that it returns.
        normalization: Normalisation with which the weights were trained; None for the one that the
            recipe beside the weights names, else the network's own.

    Returns:
        The network in ``eval`` mode.

    Raises:
        UnknownNameError: If the architecture does not exist.
        WeightsError: If the weights are missing or damaged, or do not fit the architecture.
        ValueError: If the network takes other images.
    """
    network = _build(architecture, dataset)
    path = Path(weights) if weights is not None else _baseline(architecture, dataset)
    check_fits(network, dataset)
    recorded = None
    if path is not None:
        load_weights(network.module, path)
        recorded = _recorded(path)
    network.module.eval()
    return with_normalization(network, normalization or recorded)


def _build(architecture: str, dataset: Dataset) -> Network:
    """Build a network; the random weights of a reference are the same each time."""
    channels, _, size = dataset.train.images.shape[1:]
    classes = len(dataset.classes)
    if not networks.is_reference(architecture):
        return networks.build(architecture, classes, size, channels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return networks.build(architecture, classes, size, channels)


def _baseline(architecture: str, dataset: Dataset) -> Path | None:
    """The baseline of an architecture; None for a reference without one, which has weights."""
    if os.path.isdir(architecture):
        return None
    try:
        return find(architecture, dataset)
    except NoBaselineError:
        if not networks.is_reference(architecture):
            raise
        kind = "random weights"
        if not architecture.startswith("torchvision:"):
            kind = "the weights that its function returns"
        gym.logger.warn(
            f"{architecture} has {kind}: give --weights FILE (weights=) for others, or train it "
            f"first with prune-gym pretrain --network {architecture}"
        )
        return None


def check_fits(network: Network, dataset: Dataset) -> None:
    """Check that a network takes the images of a data set and has its classes.

    Raises:
        ValueError: If it does not; the message names both.
    """
    shape, classes = tuple(dataset.train.images.shape[1:]), len(dataset.classes)
    if (tuple(network.input_shape), network.num_classes) != (shape, classes):
        raise ValueError(
            f"the network takes images of shape {tuple(network.input_shape)} and has "
            f"{network.num_classes} classes, but {dataset.name!r} has images of shape {shape} and "
            f"{classes} classes"
        )


def with_normalization(network: Network, normalization: Normalization | None) -> Network:
    """The network with another normalisation; None keeps its own."""
    return replace(network, normalization=normalization) if normalization else network


def _recorded(weights: Path) -> Normalization | None:
    """The normalisation in the recipe beside a file of weights, if it is the file's recipe."""
    try:
        recipe = read_json(weights.with_suffix(".json"))[0]
        if recipe["sha256"] != files.sha256(weights):
            return None
        return Normalization.from_json(recipe["normalization"])
    except (OSError, ValueError, TypeError, KeyError, PruneGymError):
        return None
