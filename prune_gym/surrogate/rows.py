"""Recorded steps as the rows of a table that a regressor is fitted to."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from prune_gym.envs import PruningEnv
from prune_gym.errors import DataError
from prune_gym.surrogate.features import Features, KeptShares
from prune_gym.surrogate.records import RecordedStep, Records, conditions

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Recorded steps as a regressor takes them.

    Args:
        inputs: Feature vectors, shape (rows, features).
        accuracy: Behind the step, shape (rows,).
        episode: Which episode a row is of, shape (rows,).
        policy: Who played it, shape (rows,).
        position: How many spaces were visited, shape (rows,).
        tried: Whether the step was a candidate that was not carried out, shape (rows,).
    """

    inputs: Array
    accuracy: Array
    episode: npt.NDArray[np.int64]
    policy: npt.NDArray[np.str_]
    position: npt.NDArray[np.int64]
    tried: npt.NDArray[np.bool_]

    def among(self, chosen: npt.NDArray[np.bool_]) -> "Rows":
        """Some of the rows; ``chosen`` has shape (rows,)."""
        return Rows(*(getattr(self, field.name)[chosen] for field in fields(self)))


def rows_of(records: Records, env: PruningEnv) -> Rows:
    """Features and accuracies of all recorded steps, and of each episode's start.

    Args:
        records: Of at least one episode.
        env: The environment that they were recorded in.

    Raises:
        DataError: No episodes, or another environment's.
    """
    here = conditions(env.config, env.baseline, env.visited)
    odd = sorted(key for key in here if records.header["conditions"].get(key) != here[key])
    if odd:
        raise DataError(
            f"The records are of other conditions than the environment: {odd[0]} was "
            f"{records.header['conditions'].get(odd[0])!r}, here it is {here[odd[0]]!r}. "
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
        raise DataError("The records hold no episode. Record some: prune-gym record.")
    columns = list(zip(*rows, strict=True))
    return Rows(*(np.asarray(column) for column in columns))


def _after(features: Features, kept: KeptShares, step: RecordedStep) -> KeptShares:
    space = features.visited[kept.position]
    if step.space != space.name:
        raise DataError(
            f"The records visit {step.space!r} where the environment visits {space.name!r}. "
            "Record again: prune-gym record."
        )
    mask = np.zeros(space.channels, bool)
    mask[list(step.kept)] = True
    return features.after(kept, mask, step.batches)
