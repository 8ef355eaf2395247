"""Trained, unpruned networks: shipped with the package or made by ``prune-gym pretrain``."""

import json
import shlex
from pathlib import Path
from typing import Any

from prune_gym import files, networks
from prune_gym.data import Dataset
from prune_gym.errors import WeightsError
from prune_gym.networks import Network
from prune_gym.weights import load_weights

SHIPPED = Path(__file__).parents[1] / "pretrained"


def stem(architecture: str, dataset_key: str) -> str:
    """The baseline's file name without suffix."""
    return f"{architecture.replace(':', '-')}-{dataset_key}"


def cache_folder() -> Path:
    """Where ``prune-gym pretrain`` puts baselines."""
    return files.home() / "baselines"


def find(architecture: str, dataset: Dataset) -> Path:
    """The weights of a baseline: the user's own before the shipped one.

    Args:
        architecture: The network's name.
        dataset: The data set that it was trained on.

    Returns:
        A safetensors file with its recipe, a JSON file, beside it; the checksum is checked.

    Raises:
        WeightsError: There is none, it is damaged, or it was trained on other images.
    """
    name = stem(architecture, dataset.key)
    for folder in (cache_folder(), SHIPPED):
        weights = folder / f"{name}.safetensors"
        if weights.is_file():
            _check_recipe(weights, dataset)
            return weights
    # A network of the user's own is found from its folder, which `python -m` puts on the path.
    command = "python -m prune_gym.cli" if ":" in architecture else "prune-gym"
    pixels = dataset.train.images.shape[-1]
    size = "" if pixels == 32 else f" --image-size {pixels}"
    raise WeightsError(
        f"There is no baseline of {architecture!r} for {dataset.name!r}. Make one: "
        f"{command} pretrain --network {architecture} --dataset {shlex.quote(dataset.name)}{size} "
        "(from given weights: add --init FILE)."
    )


def read_recipe(weights: Path) -> dict[str, Any]:
    """How a baseline was made.

    Raises:
        WeightsError: The JSON file beside the weights is missing or damaged.
    """
    path = weights.with_suffix(".json")
    try:
        recipe: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"The recipe {str(path)!r} of a baseline is missing or damaged ({error}). "
            "Run prune-gym pretrain again."
        ) from error
    return recipe


def _check_recipe(weights: Path, dataset: Dataset) -> None:
    recipe = read_recipe(weights)
    if recipe.get("sha256") != files.sha256(weights):
        raise WeightsError(
            f"The checksum of {str(weights)!r} is not the one in its recipe: the file is damaged. "
            "Run prune-gym pretrain again, or install prune_gym again if the file came with it."
        )
    if recipe.get("dataset_fingerprint") != dataset.fingerprint:
        raise WeightsError(
            f"{str(weights)!r} was trained on other images than {dataset.name!r} holds now. "
            "Run prune-gym pretrain again."
        )


def load(architecture: str, dataset: Dataset, weights: str | Path | None = None) -> Network:
    """Build a network and give it its trained weights.

    Args:
        architecture: A name that :func:`prune_gym.networks.build` knows.
        dataset: Gives the number of classes and the image size, and the baseline.
        weights: A safetensors file in place of the baseline's.

    Returns:
        The network in ``eval`` mode.

    Raises:
        UnknownNameError: No such architecture.
        WeightsError: The weights are missing, damaged or do not fit.
    """
    size = dataset.train.images.shape[-1]
    network = networks.build(architecture, len(dataset.classes), size)
    path = find(architecture, dataset) if weights is None else Path(weights)
    load_weights(network.module, path)
    network.module.eval()
    return network
