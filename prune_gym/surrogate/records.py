"""Recorded steps of real episodes: JSON lines that a surrogate is fitted to.

The first line says what the accuracies depend on; every further one is an episode. A line that a
kill cut off is left out when reading, and removed when recording goes on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.config import ENV_REVISION, EnvConfig
from prune_gym.errors import DataError
from prune_gym.pruning import ChannelSpace

SCHEMA = 1
KIND = "steps of real episodes"


@dataclass(frozen=True)
class RecordedStep:
    """A real step, or a candidate that was tried in its place.

    Args:
        space: The space that was visited.
        kept: Numbers of the kept filters.
        batches: Mini-batches of fine-tuning.
        accuracy: Behind the step, 0 to 1.
        tried: Candidates from the same state that were not carried out.
    """

    space: str
    kept: tuple[int, ...]
    batches: int
    accuracy: float
    tried: tuple["RecordedStep", ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        result: dict[str, Any] = {
            "space": self.space,
            "kept": list(self.kept),
            "batches": self.batches,
            "accuracy": self.accuracy,
        }
        if self.tried:
            result["tried"] = [step.as_dict() for step in self.tried]
        return result


@dataclass(frozen=True)
class RecordedEpisode:
    """A real episode.

    Args:
        number: Counts from 0 in its file.
        policy: Who played it.
        options: The policy's hyperparameters.
        seed: Of policy and environment.
        steps: In their order.
    """

    number: int
    policy: str
    options: dict[str, Any]
    seed: int
    steps: tuple[RecordedStep, ...]

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {
            "episode": self.number,
            "policy": self.policy,
            "options": self.options,
            "seed": self.seed,
            "steps": [step.as_dict() for step in self.steps],
        }


@dataclass(frozen=True)
class Records:
    """A file of recorded episodes.

    Args:
        header: Its first line.
        episodes: The others.
    """

    header: dict[str, Any]
    episodes: tuple[RecordedEpisode, ...]


def conditions(
    config: EnvConfig, baseline: Baseline, visited: Sequence[ChannelSpace]
) -> dict[str, Any]:
    """Everything but masks and mini-batches on which the accuracy after a step depends.

    Objective, accelerator, tolerance, ``min_keep`` and the like are not part of it: they change
    costs, rewards and requests, which the surrogate computes exactly.

    Args:
        config: Configuration of the environment.
        baseline: The unpruned network.
        visited: Spaces that an episode visits.

    Returns:
        Values by name; records with equal values can be combined.
    """
    return {
        "env_revision": ENV_REVISION,
        "network": baseline.network.architecture,
        "weights": baseline.weights_hash,
        "dataset": baseline.dataset.fingerprint,
        "spaces": [[space.name, space.channels] for space in visited],
        "recovery": config.recovery,
        "repair_images": len(baseline.repair_images),
        "eval_images": len(baseline.eval_labels),
        "batch_size": config.training.batch_size,
        "learning_rate": config.training.learning_rate,
        "max_batches": config.max_batches(len(baseline.train_split)),
        "tune": config.tune,
    }


def step_of(space: str, mask: npt.NDArray, batches: int, accuracy: float) -> RecordedStep:
    """A step as it is recorded.

    Args:
        space: The space's name.
        mask: The executed mask, padded or not.
        batches: Mini-batches of fine-tuning.
        accuracy: Behind it.

    Returns:
        The step.
    """
    kept = tuple(int(number) for number in np.flatnonzero(mask))
    return RecordedStep(space, kept, int(batches), float(accuracy))


def read(path: Path) -> Records:
    """Read a file of records; a last line without its end is left out.

    Raises:
        DataError: It is missing, damaged or no such file; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"The records {str(path)!r} cannot be read ({error}). "
            "Make them: prune-gym record ID --out FILE."
        ) from error
    lines = text[: text.rfind("\n") + 1].splitlines()
    if not lines:
        raise DataError(f"{str(path)!r} holds no records. Make them: prune-gym record ID.")
    first = _table(path, 1, lines[0])
    if first.get("kind") != KIND or first.get("schema") != SCHEMA:
        raise DataError(
            f"{str(path)!r} is no file of records of schema {SCHEMA}: its first line has kind "
            f"{first.get('kind')!r} and schema {first.get('schema')!r}."
        )
    channels = dict(first["conditions"]["spaces"])
    episodes = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            episodes.append(_episode(_table(path, number, line), channels))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"Line {number} of {str(path)!r} is no episode ({error!r}). Remove the line."
            ) from error
    return Records(first, tuple(episodes))


def cut_to_whole_lines(path: Path) -> None:
    """Remove what a kill left of a last line, so that appending begins on a line of its own."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)


def joined(records: Sequence[Records], names: Sequence[str]) -> Records:
    """Several files' records as one.

    Args:
        records: At least one.
        names: The files' names, for the error.

    Returns:
        The first one's header with all episodes.

    Raises:
        DataError: They were recorded under different conditions.
    """
    first = records[0]
    for other, name in zip(records[1:], names[1:], strict=True):
        mine, theirs = first.header["conditions"], other.header["conditions"]
        odd = sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key))
        if odd:
            raise DataError(
                f"{name!r} and {names[0]!r} were recorded under other conditions: {odd[0]} is "
                f"{theirs.get(odd[0])!r} and {mine.get(odd[0])!r}. Fit them apart."
            )
    return Records(first.header, tuple(e for part in records for e in part.episodes))


def _table(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"Line {number} of {str(path)!r} is damaged ({error}). Remove the line."
        ) from error
    if not isinstance(value, dict):
        raise DataError(f"Line {number} of {str(path)!r} holds no table. Remove the line.")
    return value


def _episode(line: dict[str, Any], channels: dict[str, int]) -> RecordedEpisode:
    return RecordedEpisode(
        number=int(line["episode"]),
        policy=str(line["policy"]),
        options=dict(line["options"]),
        seed=int(line["seed"]),
        steps=tuple(_step(step, channels) for step in line["steps"]),
    )


def _step(step: dict[str, Any], channels: dict[str, int]) -> RecordedStep:
    kept = tuple(int(number) for number in step["kept"])
    if (
        not kept
        or len(set(kept)) < len(kept)
        or not all(0 <= number < channels[step["space"]] for number in kept)
    ):
        raise ValueError(f"kept={list(kept)} of {step['space']!r}")
    accuracy, batches = float(step["accuracy"]), int(step["batches"])
    if not 0 <= accuracy <= 1 or batches < 0:
        raise ValueError(f"accuracy={accuracy}, batches={batches}")
    tried = tuple(_step(other, channels) for other in step.get("tried", ()))
    return RecordedStep(step["space"], kept, batches, accuracy, tried)
