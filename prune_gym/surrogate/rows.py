"""Recorded steps as rows of a table, to which a regressor is fitted."""

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from prune_gym.envs import PruningEnv
from prune_gym.errors import DataError
from prune_gym.surrogate.features import Features, KeptShares
from prune_gym.surrogate.records import RecordedStep, Records, conditions, first_difference

Array = npt.NDArray[np.float64]


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
