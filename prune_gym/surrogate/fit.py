"""Fit a surrogate to records, and measure it on episodes and policies that it has not seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym.envs import PruningEnv
from prune_gym.errors import DataError, PruneGymError
from prune_gym.surrogate.features import Features
from prune_gym.surrogate.predictor import Surrogate, accuracy_of, import_library, logit
from prune_gym.surrogate.records import Records, conditions
from prune_gym.surrogate.rows import Array, Rows, rows_of
from prune_gym.surrogate.trees import TreeEnsemble

FOLDS = 5


def fit(rows: Rows, seed: int = 0, **options: Any) -> Any:
    """Fit the library's regressor: many shallow trees, each on half of the rows.

    Args:
        rows: What to learn from.
        seed: Of the regressor.
        options: In place of the defaults, chosen by tau on held-out episodes of ``shapes``.

    Returns:
        A ``sklearn.ensemble.GradientBoostingRegressor`` of the accuracy's logit, which tells
        92 % from 93 % as it tells 50 % from 54 %.
    """
    library = import_library()
    settings: dict[str, Any] = {
        "n_estimators": 500,
        "learning_rate": 0.03,
        "max_depth": 3,
        "subsample": 0.5,
        "max_features": 0.2,
        "random_state": seed,
    }
    regressor = library.GradientBoostingRegressor(**(settings | options))
    return regressor.fit(rows.inputs, logit(rows.accuracy))


def held_out(rows: Rows, groups: npt.NDArray, seed: int = 0, **options: Any) -> Array:
    """Predictions for each row by a regressor that saw no row of its group.

    Args:
        rows: All rows.
        groups: A number or name for each row.
        seed: Of the regressors.
        options: As for :func:`fit`.

    Returns:
        Shape (rows,).

    Raises:
        DataError: There is but one group.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError(f"All records are of one group ({names[0]!s}): nothing can be held out.")
    result = np.empty(len(rows.accuracy))
    for name in names:
        out = groups == name
        regressor = fit(rows.among(~out), seed, **options)
        result[out] = accuracy_of(regressor.predict(rows.inputs[out]))
    return result


def measure(rows: Rows, predicted: Array, among: npt.NDArray[np.bool_]) -> dict[str, float]:
    """How well predictions rank and meet the accuracies.

    Args:
        rows: All rows.
        predicted: Shape (rows,).
        among: Which rows count, shape (rows,).

    Returns:
        ``steps``, Kendall's ``tau`` (b), ``tau_same_space`` (mean over positions of the tau among
        the steps there, which the position cannot help), mean absolute ``error``, and
        ``baseline_error``, that of the mean of all other rows' accuracies.
    """
    from scipy.stats import kendalltau  # type: ignore[import-untyped]

    def tau(which: npt.NDArray[np.bool_]) -> float:
        value = kendalltau(rows.accuracy[which], predicted[which]).statistic
        return float(value) if np.isfinite(value) else 0.0

    # The start is known, not predicted, and would flatter.
    among = among & (rows.position > 0)
    positions = np.unique(rows.position[among])
    same = [tau(among & (rows.position == position)) for position in positions]
    true = rows.accuracy[among]
    mean = rows.accuracy[rows.position > 0].mean()
    return {
        "steps": int(among.sum()),
        "tau": tau(among),
        "tau_same_space": float(np.mean(same)),
        "error": float(np.abs(predicted[among] - true).mean()),
        "baseline_error": float(np.abs(mean - true).mean()),
    }


@dataclass(frozen=True)
class Report:
    """A fitted surrogate with its trial.

    Args:
        surrogate: Fitted to all records.
        rows: All rows.
        predicted: Predictions by regressors that had not seen the row's episode, shape (rows,).
    """

    surrogate: Surrogate
    rows: Rows
    predicted: Array


def fit_surrogate(records: Records, env: PruningEnv, seed: int = 0, **options: Any) -> Report:
    """Fit a surrogate to all records, and measure it on held-out episodes and policies.

    Args:
        records: Of at least ``FOLDS`` episodes.
        env: The environment that they were recorded in.
        seed: Decides the folds and the regressor.
        options: As for :func:`fit`.

    Returns:
        The surrogate, its metrics among its facts.

    Raises:
        DataError: Too few episodes, or of another environment.
        PruneGymError: scikit-learn is missing, or its trees cannot be read.
    """
    if len(records.episodes) < FOLDS:
        raise DataError(
            f"{len(records.episodes)} episodes are too few, at least {FOLDS} are needed. "
            "Record more: prune-gym record with the same --out and more --episodes."
        )
    rows = rows_of(records, env)
    features = Features(env.baseline, env.visited)
    order = np.random.default_rng(seed).permutation(len(records.episodes))
    by_episode = held_out(rows, order[rows.episode] % FOLDS, seed, **options)
    everything = np.ones(len(rows.accuracy), bool)
    last = rows.position == len(env.visited)
    metrics: dict[str, Any] = {
        "held_out_episodes": measure(rows, by_episode, everything),
        "held_out_episodes_final": measure(rows, by_episode, last & ~rows.tried),
    }
    if len(np.unique(rows.policy)) > 1:
        by_policy = held_out(rows, rows.policy, seed, **options)
        metrics["held_out_policies"] = measure(rows, by_policy, everything)
        for name in np.unique(rows.policy):
            metrics[f"held_out_policy_{name}"] = measure(rows, by_policy, rows.policy == name)
    regressor = fit(rows, seed, **options)
    trees = TreeEnsemble.from_library(regressor)
    check_against_library(trees, regressor, rows.inputs)
    facts = {
        "conditions": conditions(env.config, env.baseline, env.visited),
        "features": list(features.names),
        "records": {key: records.header[key] for key in ("id", "env_arguments", "seed", "threads")}
        | {"episodes": len(records.episodes), "steps": int((rows.position > 0).sum())},
        "regressor": {key: value for key, value in regressor.get_params().items() if value},
        "seed": seed,
        "metrics": metrics,
    }
    return Report(Surrogate(trees, facts), rows, by_episode)


def check_against_library(trees: TreeEnsemble, regressor: Any, inputs: Array) -> None:
    """Make sure that the compiled trees are the library's.

    Raises:
        PruneGymError: They are not: this version of scikit-learn keeps its trees otherwise.
    """
    own = np.array([trees.predict(row) for row in inputs])
    if not np.allclose(own, regressor.predict(inputs), rtol=0, atol=1e-9):
        raise PruneGymError(
            "The trees of this version of scikit-learn cannot be read; install the one that "
            "constraints.txt names."
        )
