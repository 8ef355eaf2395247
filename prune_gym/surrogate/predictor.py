"""A fitted surrogate and its files, whose names depend on the conditions of the recording."""

import hashlib
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from prune_gym import files
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.jsonfile import read_json
from prune_gym.networks import pretrained as baselines
from prune_gym.surrogate.records import first_difference
from prune_gym.surrogate.trees import TreeEnsemble

SCHEMA = 1
EDGE = 1e-3
"""Distance from 0 and 1 to which accuracies are clipped before the logit."""


@dataclass(frozen=True)
class Surrogate:
    """A regressor of the accuracy after a step, with its origin and metrics.

    Args:
        trees: Regressor of the accuracy's logit.
        facts: Contents of the JSON file: ``conditions``, ``features``, ``metrics`` and other
            information about the fit.
    """

    trees: TreeEnsemble
    facts: dict[str, Any]

    def accuracy(self, features: npt.NDArray[np.float64]) -> float:
        """The predicted accuracy, 0 to 1, from the features of a state, shape (features,)."""
        return 1 / (1 + math.exp(-self.trees.predict(features)))

    def save(self, path: Path) -> Path:
        """Write the trees to a safetensors file, and the facts to a JSON file of the same name."""
        arrays = {name: np.ascontiguousarray(a) for name, a in vars(self.trees).items()}
        files.write_atomically(path, lambda temporary: save_file(arrays, temporary))
        facts = {"schema": SCHEMA, **self.facts, "sha256": files.sha256(path)}
        files.write_json(path.with_suffix(".json"), facts)
        return path


def logit(accuracy: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """``log(a / (1 - a))`` of accuracies, which are first clipped by :data:`EDGE`."""
    inside = np.clip(accuracy, EDGE, 1 - EDGE)
    result: npt.NDArray[np.float64] = np.log(inside / (1 - inside))
    return result


def accuracy_of(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The inverse of :func:`logit`."""
    result: npt.NDArray[np.float64] = 1 / (1 + np.exp(-logits))
    return result


def file_name(conditions: dict[str, Any]) -> str:
    """The name of the safetensors file of a surrogate for these conditions."""
    text = json.dumps(conditions, sort_keys=True)
    architecture = str(conditions["network"]).replace(":", "-")
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"surrogate-{architecture}-{digest}.safetensors"


def cache_folder() -> Path:
    """The folder to which ``prune-gym fit-surrogate`` writes by default."""
    return files.home() / "surrogates"


def find(
    conditions: dict[str, Any], arguments: dict[str, Any], others: Mapping[str, dict[str, Any]]
) -> Path:
    """The file of an environment's surrogate; the user's own takes precedence over a shipped one.

    Args:
        conditions: Conditions of the environment.
        arguments: Arguments of the environment.
        others: Conditions of the same environment with other arguments, by their text.

    Raises:
        WeightsError: If there is none; the message says how to make it with these arguments, and
            which of the others has one.
    """
    if (path := _fitted(conditions)) is not None:
        return path
    fitted = [text for text, other in others.items() if _fitted(other) is not None]
    hint = f" Or use {fitted[0]}, for which one was fitted." if fitted else ""
    given = "".join(
        f" --env {shlex.quote(f'{key}={value}')}" for key, value in sorted(arguments.items())
    )
    raise WeightsError(
        "No surrogate was fitted for this network, data set and arguments. Make one: "
        f"prune-gym record PruneResNet20-v0{given} --out records.jsonl, then "
        f"prune-gym fit-surrogate records.jsonl.{hint}"
    )


def _fitted(conditions: dict[str, Any]) -> Path | None:
    paths = (folder / file_name(conditions) for folder in (cache_folder(), baselines.SHIPPED))
    return next((path for path in paths if path.is_file()), None)


def load(path: Path, conditions: dict[str, Any], features: tuple[str, ...]) -> Surrogate:
    """Read a surrogate and check that it fits an environment's conditions and features.

    Raises:
        WeightsError: If the file is missing or damaged, or was fitted for other conditions or
            features; the message names the first condition that differs.
    """
    again = "Fit it again: prune-gym fit-surrogate."
    try:
        facts = read_json(path.with_suffix(".json"))[0]
        arrays = load_file(path)
        if facts.get("schema") != SCHEMA or facts.get("sha256") != files.sha256(path):
            raise ValueError("its schema or checksum is wrong")
        if not isinstance(facts.get("conditions"), dict):
            raise ValueError("the conditions are missing")
        surrogate = Surrogate(TreeEnsemble(**arrays), facts)
    except (
        *(OSError, ValueError, TypeError, AttributeError),
        *(PruneGymError, SafetensorError),
    ) as error:
        raise WeightsError(
            f"The surrogate {str(path)!r} is missing or damaged ({error}). {again}"
        ) from error
    made = facts["conditions"]
    if name := first_difference(made, conditions):
        raise WeightsError(
            f"The surrogate {str(path)!r} was recorded under other conditions: {name} was "
            f"{made.get(name)!r}, here it is {conditions.get(name)!r}. {again}"
        )
    fits = tuple(facts.get("features", ())) == features
    if not fits or surrogate.trees.feature.max() >= len(features):
        raise WeightsError(f"The surrogate {str(path)!r} uses other features. {again}")
    return surrogate


def import_library() -> Any:
    """Import ``sklearn.ensemble``, which only fitting needs.

    Raises:
        PruneGymError: If scikit-learn is not installed.
    """
    try:
        import sklearn.ensemble  # type: ignore[import-untyped]
    except ImportError as error:
        raise PruneGymError(
            "Fitting a surrogate needs scikit-learn: pip install 'prune-gym[surrogate]'"
        ) from error
    return sklearn.ensemble
