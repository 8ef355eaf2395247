"""Fit a surrogate to records, and evaluate it on held-out episodes and policies."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym.envs import PruningEnv
from prune_gym.errors import DataError, PruneGymError
from prune_gym.surrogate.features import Array, Features, KeptShares
from prune_gym.surrogate.predictor import Surrogate, accuracy_of, import_library, logit
from prune_gym.surrogate.records import RecordedStep, Records, conditions, first_difference
from prune_gym.surrogate.trees import TreeEnsemble

FOLDS = 5
"""Number of groups of episodes, each of which is held out once."""


@dataclass(frozen=True)
class Rows:
    """Recorded steps as input of a regressor.

    Args:
        inputs: Feature vectors, shape (rows, features).
        accuracy: Accuracy after the step, shape (rows,).
        episode: Number of the episode, shape (rows,).
        policy: Name of the policy, shape (rows,).
        position: Number of visited spaces, shape (rows,).
        tried: Whether the step was a candidate that was not executed, shape (rows,).
    """

    inputs: Array
    accuracy: Array
    episode: npt.NDArray[np.int64]
    policy: npt.NDArray[np.str_]
    position: npt.NDArray[np.int64]
    tried: npt.NDArray[np.bool_]

    def among(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """The rows of a mask, shape (rows,)."""
        return Rows(*(getattr(self, field.name)[chosen] for field in fields(self)))


def rows_of(records: Records, env: PruningEnv) -> Rows:
    """Features and accuracies of all recorded steps and of the start of each episode.

    Raises:
        DataError: If there is no episode, or the records come from another environment.
    """
    here = conditions(env.config, env.baseline, env.visited)
    recorded = records.header["conditions"]
    if name := first_difference(recorded, here):
        raise DataError(
            f"The records were made under other conditions than those of the environment: {name} "
            f"was {recorded.get(name)!r}, here it is {here.get(name)!r}. "
            "Record again: prune-gym record."
        )
    features = Features(env.baseline, env.visited)
    rows: list[tuple[Array, float, int, str, int, bool]] = []
    for number, episode in enumerate(records.episodes):
        kept = features.start()
        states = [(kept, env.baseline.accuracy, False)]
        for step in episode.steps:
            states += [(_after(features, kept, t), t.accuracy, True) for t in step.tried]
            kept = _after(features, kept, step)
            states.append((kept, step.accuracy, False))
        rows += [
            (features.vector(state), accuracy, number, episode.policy, state.position, tried)
            for state, accuracy, tried in states
        ]
    if not rows:
        raise DataError("The records contain no episode. Record some: prune-gym record.")
    columns = list(zip(*rows, strict=True))
    return Rows(*(np.asarray(column) for column in columns))


def _after(features: Features, kept: KeptShares, step: RecordedStep) -> KeptShares:
    space = features.visited[kept.position]
    if step.space != space.name:
        raise DataError(
            f"The records visit {step.space!r}, but the environment visits {space.name!r}. "
            "Record again: prune-gym record."
        )
    mask = np.zeros(space.channels, bool)
    mask[list(step.kept)] = True
    return features.after(kept, mask, step.batches)


def fit(rows: Rows, seed: int = 0, **options: Any) -> Any:
    """Fit scikit-learn's regressor: many shallow trees, each to half of the rows.

    The defaults of its options were chosen by tau on held-out episodes of ``shapes``.

    Returns:
        A ``sklearn.ensemble.GradientBoostingRegressor`` of the accuracy's logit. For the logit, the
        step from 92 % to 93 % is as large as that from 50 % to 54 %.
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
    """Predict each row by a regressor that was fitted to the other groups.

    Args:
        rows: All rows.
        groups: Number or name of each row's group, shape (rows,).
        seed: See :func:`fit`.
        options: See :func:`fit`.

    Returns:
        Predicted accuracies, shape (rows,).

    Raises:
        DataError: If there is only one group.
    """
    names = np.unique(groups)
    if len(names) < 2:
        raise DataError(f"All records belong to one group ({names[0]!s}); none can be held out.")
    result = np.empty(len(rows.accuracy))
    for name in names:
        out = groups == name
        regressor = fit(rows.among(~out), seed, **options)
        result[out] = accuracy_of(regressor.predict(rows.inputs[out]))
    return result


def measure(rows: Rows, predicted: Array, among: npt.NDArray[np.bool_]) -> dict[str, float]:
    """Compare predicted with recorded accuracies of the rows of a mask.

    Returns:
        Number of ``steps``; Kendall's ``tau`` (tau-b); ``tau_same_space``, the mean of the taus of
        each position, to which the position does not contribute; mean absolute ``error``; and
        ``baseline_error``, the error of predicting the mean accuracy of all steps.
    """
    from scipy.stats import kendalltau  # type: ignore[import-untyped]

    def tau(which: npt.NDArray[np.bool_]) -> float:
        value = kendalltau(rows.accuracy[which], predicted[which]).statistic
        return float(value) if np.isfinite(value) else 0.0

    # The start of an episode is known, so it would make the predictions look better.
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
class FittedSurrogate:
    """A surrogate with its held-out predictions.

    Args:
        surrogate: Surrogate that was fitted to all records.
        rows: All rows.
        predicted: Predictions by regressors that were fitted without the row's episode, (rows,).
    """

    surrogate: Surrogate
    rows: Rows
    predicted: Array


def fit_surrogate(
    records: Records, env: PruningEnv, seed: int = 0, **options: Any
) -> FittedSurrogate:
    """Fit a surrogate to all records, and evaluate it on held-out episodes and policies.

    Args:
        records: Records of at least ``FOLDS`` episodes.
        env: Environment in which they were recorded.
        seed: Seed of the folds and of the regressor.
        options: Options of :func:`fit`.

    Returns:
        The surrogate, with its metrics in ``surrogate.facts``, and the held-out predictions.

    Raises:
        DataError: If there are too few episodes, or they come from another environment.
        PruneGymError: If scikit-learn is missing, or its trees cannot be read.
    """
    if len(records.episodes) < FOLDS:
        raise DataError(
            f"{len(records.episodes)} episodes are too few; fitting needs at least {FOLDS}. "
            "Record more: prune-gym record with the same --out and more --episodes."
        )
    rows = rows_of(records, env)
    features = Features(env.baseline, env.visited)
    order = np.random.default_rng(seed).permutation(len(records.episodes))
    by_episode = held_out(rows, order[rows.episode] % FOLDS, seed, **options)
    metrics = _metrics(rows, by_episode, len(env.visited), seed, options)
    regressor = fit(rows, seed, **options)
    trees = TreeEnsemble.from_library(regressor)
    own = np.array([trees.predict(row) for row in rows.inputs])
    if not np.allclose(own, regressor.predict(rows.inputs), rtol=0, atol=1e-9):
        raise PruneGymError(
            "The trees of this version of scikit-learn cannot be read. Install the version in "
            "constraints.txt."
        )
    facts = {
        "conditions": conditions(env.config, env.baseline, env.visited),
        "features": list(features.names),
        "records": {key: records.header[key] for key in ("id", "env_arguments", "seed", "threads")}
        | {"episodes": len(records.episodes), "steps": int((rows.position > 0).sum())},
        "regressor": {key: value for key, value in regressor.get_params().items() if value},
        "seed": seed,
        "metrics": metrics,
    }
    return FittedSurrogate(Surrogate(trees, facts), rows, by_episode)


def _metrics(
    rows: Rows, by_episode: Array, spaces: int, seed: int, options: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Metrics on held-out episodes and, with several policies, on held-out policies."""
    everything = np.ones(len(rows.accuracy), bool)
    final = (rows.position == spaces) & ~rows.tried
    metrics = {
        "held_out_episodes": measure(rows, by_episode, everything),
        "held_out_episodes_final": measure(rows, by_episode, final),
    }
    policies = np.unique(rows.policy)
    if len(policies) > 1:
        by_policy = held_out(rows, rows.policy, seed, **options)
        metrics["held_out_policies"] = measure(rows, by_policy, everything)
        for name in policies:
            metrics[f"held_out_policy_{name}"] = measure(rows, by_policy, rows.policy == name)
    return metrics
