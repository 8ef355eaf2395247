"""Records: JSON lines with the steps of real episodes, to which a surrogate is fitted.

The first line is the header, which holds everything on which the accuracies depend; each further
line is an episode. A line that an interruption cut off is ignored by :func:`read`, and removed
before a recording is continued.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.config import TRANSITION_REVISION, EnvConfig
from prune_gym.errors import DataError, PruneGymError
from prune_gym.jsonfile import MOST_LINES, Count, Share, check_size, described, parse_json
from prune_gym.pruning import ChannelSpace

SCHEMA = 1
KIND = "steps of real episodes"


@dataclass(frozen=True)
class RecordedStep:
    """A step of a real episode, or a candidate that was only tried.

    Args:
        space: Name of the visited space.
        kept: Indices of the kept filters.
        batches: Mini-batches of fine-tuning.
        accuracy: Accuracy after the step, 0 to 1.
        tried: Candidates that were tried from the same state but not executed.
    """

    space: str
    kept: tuple[Count, ...]
    batches: Count
    accuracy: Share
    tried: tuple["RecordedStep", ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The entry of the file, ready for JSON."""
        entry = vars(self) | {"tried": [step.as_dict() for step in self.tried]}
        return {name: value for name, value in entry.items() if name != "tried" or value}


@dataclass(frozen=True)
class RecordedEpisode:
    """A real episode.

    Args:
        episode: Number of the episode in its file, from 0.
        policy: Name of the policy that played it.
        options: Hyperparameters of the policy.
        seed: Seed of the policy and of the environment.
        steps: Steps of the episode, in their order.
    """

    episode: Count
    policy: str
    options: dict[str, Any]
    seed: Count
    steps: tuple[RecordedStep, ...]

    def as_dict(self) -> dict[str, Any]:
        """The entry of the file, ready for JSON."""
        return vars(self) | {"steps": [step.as_dict() for step in self.steps]}


@dataclass(frozen=True)
class Records:
    """Recorded episodes with their header.

    Args:
        header: First line of the file.
        episodes: Episodes of the other lines.
    """

    header: dict[str, Any]
    episodes: tuple[RecordedEpisode, ...]


def conditions(
    config: EnvConfig, baseline: Baseline, visited: Sequence[ChannelSpace]
) -> dict[str, Any]:
    """Everything on which the accuracy after a step depends, except masks and mini-batches.

    Arguments such as objective, accelerator, tolerance and ``min_keep`` are not included, since
    they only affect costs, rewards and clipping, which the surrogate computes exactly. Records with
    equal conditions can be combined.
    """
    return {
        "env_revision": TRANSITION_REVISION,
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


def read(path: Path) -> Records:
    """Read a file of records; an incomplete last line is ignored.

    Raises:
        DataError: If the file is missing, is damaged or holds no records; the message names the
            line.
    """
    try:
        check_size(path, MOST_LINES)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, PruneGymError) as error:
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
            f"{str(path)!r} is not a file of records of schema {SCHEMA}: its first line has kind "
            f"{first.get('kind')!r} and schema {first.get('schema')!r}."
        )
    channels = dict(first["conditions"]["spaces"])
    episodes = []
    for number, line in enumerate(lines[1:], start=2):
        value = _table(path, number, line)
        try:
            episodes.append(_episode(value, channels))
        except (ValueError, msgspec.ValidationError) as error:
            raise DataError(
                f"Line {number} of {str(path)!r} is not an episode: {described(error, value)}. "
                "Remove the line."
            ) from error
    return Records(first, tuple(episodes))


def cut_to_whole_lines(path: Path) -> None:
    """Remove an incomplete last line, so that further lines can be appended."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole != len(data):
        with path.open("r+b") as file:
            file.truncate(whole)


def joined(records: Sequence[Records], names: Sequence[str]) -> Records:
    """All episodes of several files (at least one) with the header of the first.

    Raises:
        DataError: If the files were recorded under different conditions.
    """
    first = records[0]
    for other, name in zip(records[1:], names[1:], strict=True):
        mine, theirs = first.header["conditions"], other.header["conditions"]
        if odd := first_difference(mine, theirs):
            raise DataError(
                f"{name!r} and {names[0]!r} were recorded under different conditions: {odd} is "
                f"{theirs.get(odd)!r} and {mine.get(odd)!r}. Fit one surrogate to each."
            )
    return Records(first.header, tuple(e for part in records for e in part.episodes))


def first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first name, in alphabetical order, whose values differ; None if all are equal."""
    names = sorted({*one, *other})
    return next((name for name in names if one.get(name) != other.get(name)), None)


def _table(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = parse_json(line, f"Line {number} of {str(path)!r}")
    except PruneGymError as error:
        raise DataError(f"{error} Remove the line.") from error
    if not isinstance(value, dict):
        raise DataError(f"Line {number} of {str(path)!r} is not a table. Remove the line.")
    return value


def _episode(value: dict[str, Any], channels: dict[str, int]) -> RecordedEpisode:
    episode = msgspec.convert(value, RecordedEpisode)
    for step in (step for executed in episode.steps for step in (executed, *executed.tried)):
        known = range(channels.get(step.space, 0))
        if not step.kept or len(set(step.kept)) < len(step.kept) or not set(step.kept) <= {*known}:
            raise ValueError(f"kept={list(step.kept)} of {step.space!r}")
    return episode
