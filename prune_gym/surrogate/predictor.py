"""A fitted surrogate and its files: safetensors and JSON, found by what it was recorded under."""

import hashlib
import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from prune_gym import files
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.networks import pretrained as baselines
from prune_gym.surrogate.trees import TreeEnsemble

SCHEMA = 1
EDGE = 1e-3
DEFAULTS = {"network": "resnet20", "dataset": "shapes"}


@dataclass(frozen=True)
class Surrogate:
    """Predicts the accuracy after a step.

    Args:
        trees: The regressor of the accuracy's logit.
        facts: How it was made and what it reaches: ``conditions``, ``features``, ``metrics`` and
            whatever else the file should tell.
    """

    trees: TreeEnsemble
    facts: dict[str, Any]

    def accuracy(self, features: npt.NDArray[np.float64]) -> float:
        """The predicted accuracy, 0 to 1, of one feature vector."""
        return 1 / (1 + math.exp(-self.trees.predict(features)))

    def save(self, path: Path) -> Path:
        """Write ``path`` (safetensors) and the facts beside it (JSON).

        Returns:
            ``path``.
        """
        arrays = {name: np.ascontiguousarray(a) for name, a in self.trees.arrays().items()}
        files.write_atomically(path, lambda temporary: save_file(arrays, temporary))
        facts = {"schema": SCHEMA, **self.facts, "sha256": files.sha256(path)}
        files.write_json(path.with_suffix(".json"), facts)
        return path


def logit(accuracy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``log(a / (1 - a))`` of accuracies, each held within ``EDGE`` of 0 and 1."""
    inside = np.clip(accuracy, EDGE, 1 - EDGE)
    result: npt.NDArray[np.float64] = np.log(inside / (1 - inside))
    return result


def accuracy_of(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The accuracies of logits."""
    result: npt.NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return result


def file_name(conditions: dict[str, Any]) -> str:
    """The name of the surrogate of :func:`prune_gym.surrogate.records.conditions`."""
    text = json.dumps(conditions, sort_keys=True)
    architecture = str(conditions["network"]).replace(":", "-")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"surrogate-{architecture}-{digest}.safetensors"


def cache_folder() -> Path:
    """Where ``prune-gym fit-surrogate`` puts surrogates."""
    return files.home() / "surrogates"


def find(conditions: dict[str, Any], arguments: dict[str, Any]) -> Path:
    """The surrogate of these conditions: the user's own before the shipped one.

    Args:
        conditions: Of the environment.
        arguments: Those given to the environment, for the error.

    Returns:
        A safetensors file with its facts beside it.

    Raises:
        WeightsError: There is none; the message says how to make it.
    """
    for folder in (cache_folder(), baselines.SHIPPED):
        path = folder / file_name(conditions)
        if path.is_file():
            return path
    # All ids are one class, told apart by the network and the data.
    rest = {key: value for key, value in arguments.items() if DEFAULTS.get(key) != value}
    given = "".join(
        f" --env {shlex.quote(f'{key}={value}')}" for key, value in sorted(rest.items())
    )
    raise WeightsError(
        "No surrogate was fitted for this network, data and these arguments. Make one: "
        f"prune-gym record PruneResNet20-v0{given} --out records.jsonl, then "
        "prune-gym fit-surrogate records.jsonl."
    )


def load(path: Path, conditions: dict[str, Any], features: tuple[str, ...]) -> Surrogate:
    """Read a surrogate, checked.

    Args:
        path: The safetensors file.
        conditions: That it must have been recorded under.
        features: That it must have been fitted on, in this order.

    Returns:
        The surrogate.

    Raises:
        WeightsError: It is missing, damaged, or of other conditions; the first one is named.
    """
    again = "Fit it again: prune-gym fit-surrogate."
    try:
        facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        arrays = load_file(path)
        if facts.get("schema") != SCHEMA or facts.get("sha256") != files.sha256(path):
            raise ValueError("schema or checksum is another")
        if not isinstance(facts.get("conditions"), dict):
            raise ValueError("the conditions are missing")
        surrogate = Surrogate(TreeEnsemble(**arrays), facts)
    except (OSError, ValueError, TypeError, AttributeError, SafetensorError) as error:
        raise WeightsError(
            f"The surrogate {str(path)!r} is missing or damaged ({error}). {again}"
        ) from error
    made = facts["conditions"]
    odd = sorted(key for key in made | conditions if made.get(key) != conditions.get(key))
    if odd:
        raise WeightsError(
            f"The surrogate {str(path)!r} was recorded under other conditions: {odd[0]} was "
            f"{made.get(odd[0])!r}, here it is {conditions.get(odd[0])!r}. {again}"
        )
    if tuple(facts.get("features", ())) != features or surrogate.trees.feature.max() >= len(
        features
    ):
        raise WeightsError(f"The surrogate {str(path)!r} takes other features. {again}")
    return surrogate


def import_library() -> Any:
    """scikit-learn's ensembles, which only fitting needs.

    Raises:
        PruneGymError: It is not installed.
    """
    try:
        import sklearn.ensemble  # type: ignore[import-untyped]
    except ImportError as error:
        raise PruneGymError(
            "Fitting a surrogate needs scikit-learn: pip install 'prune-gym[surrogate]'"
        ) from error
    return sklearn.ensemble
