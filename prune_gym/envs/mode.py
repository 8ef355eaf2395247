"""Interface of the action modes: what an action means and what it does to the network."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from prune_gym.costs import CostModel
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.config import EnvConfig
from prune_gym.envs.numbers import as_numbers
from prune_gym.envs.observation import Observer
from prune_gym.envs.state import Build, State, StepRecord
from prune_gym.envs.target import Target
from prune_gym.errors import shown
from prune_gym.interface import Info
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.finished import FinishedNetwork

Action = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Choice:
    """A parsed action, as it is executed.

    Args:
        batches: Mini-batches of fine-tuning.
        changed: Whether the rules changed the action.
    """

    batches: int
    changed: bool

    @property
    def key(self) -> Hashable:
        """What determines the result of the step, apart from the state and the seed."""
        return self.batches


ChoiceT = TypeVar("ChoiceT", bound=Choice)


class Mode(ABC, Generic[ChoiceT]):
    """A meaning of actions: parses an action, builds its network and describes the result.

    Args:
        config: Configuration of the environment.
        baseline: The unpruned network.
        visited: Spaces that an episode visits.
        costs: Cost model that takes the counts of a build.
        observer: Observer that makes the observations.

    Attributes:
        action_space: Space of the actions.
        target: Requirements for the final network.

    Raises:
        TargetError: If no reachable network meets the target.
    """

    action_space: spaces.Dict

    def __init__(
        self,
        config: EnvConfig,
        baseline: Baseline,
        visited: tuple[ChannelSpace, ...],
        costs: CostModel,
        observer: Observer,
    ) -> None:
        self.config, self.baseline, self.visited = config, baseline, visited
        self.costs, self.observer = costs, observer
        self.max_batches = config.max_batches(len(baseline.train_split))
        self.target = Target(config, costs, visited, baseline.accuracy)

    @abstractmethod
    def parse(self, state: State, action: Action) -> ChoiceT:
        """Check an action and clip it to the target.

        Raises:
            ValueError: If the action has a wrong form or shape, or is out of range.
        """

    @abstractmethod
    def build(self, state: State, choice: ChoiceT, seed: int) -> Build:
        """Cut or compress, repair and train; the state does not change.

        The seed determines the order and augmentation of the training images.
        """

    def describe(self, record: StepRecord) -> Info:
        """The entries of ``info`` for an executed action."""
        padded = np.zeros(self.observer.width, np.int8)
        padded[: record.mask.size] = record.mask
        return {
            "mask": padded,
            "mask_changed": record.changed,
            "batches": record.batches,
            "evaluated_images": record.images,
            "rewards": asdict(record.reward),
        }

    def accept(self, state: State, network: FinishedNetwork) -> list[Build]:
        """One build for each visited space, each with the finished network.

        Visited spaces without a mask keep all channels.

        Raises:
            ValueError: If the network does not fit the mode.
        """
        others = set(network.masks) - {space.name for space in self.visited}
        if others:
            raise ValueError(
                f"the network has a mask for {min(others)!r}, which an episode does not visit; "
                "create the environment with scope='all', or keep all channels of the space"
            )
        kept, counts, builds = dict(state.kept), dict[str, int](), list[Build]()
        for space in self.visited:
            mask = network.masks.get(space.name, np.ones(space.channels, bool))
            if mask.shape != (space.channels,):
                raise ValueError(
                    f"the network's mask of {space.name!r} has shape {mask.shape} but must have "
                    f"({space.channels},)"
                )
            block = network.blocks.get(space.name)
            counts[space.name] = int(mask.sum())
            if block is None or not block.merged:
                kept[space.name] = np.flatnonzero(mask)
            build = Build(
                space=space,
                module=network.module,
                spaces=network.spaces,
                kept=dict(kept),
                counts=dict(counts),
                mask=mask,
                batches=0,
                macs=0,
                keeps_prefix=False,
                changed=space.name in network.changed,
                block=block,
            )
            builds.append(build)
        return builds

    @abstractmethod
    def fits(self, state: State) -> bool:
        """Whether a state belongs to the network of this mode."""

    def upcoming(self, state: State, build: Build) -> ChannelSpace | None:
        """The space to visit after a step, with its channels in the build; None after the last."""
        position = state.position + 1
        if position == len(self.visited):
            return None
        coming = self.visited[position]
        return next((space for space in build.spaces if space.name == coming.name), coming)


def unit_box() -> spaces.Box:
    """The space of one number within [0, 1]."""
    return spaces.Box(0.0, 1.0, (1,), np.float32)


def check_entries(action: Action, *names: str) -> None:
    """Raise a ValueError unless an action is a dictionary with these two entries."""
    if not isinstance(action, Mapping) or set(action) != set(names):
        raise ValueError(
            f"an action must be a dict with {names[0]!r} and {names[1]!r}, not a "
            f"{type(action).__name__}: {shown(action)}"
        )


def unit_value(name: str, given: Any, meaning: str) -> float:
    """An entry of an action; ValueError if it is not one finite number within [0, 1]."""
    number = as_numbers(name, given)
    if number.size != 1 or not np.isfinite(number).all():
        raise ValueError(
            f"action: {name}={shown(given)} of shape {number.shape} must be one finite number"
        )
    value = float(number.astype(np.float64).reshape(()))
    if not 0 <= value <= 1:
        raise ValueError(f"action: {name}={value} must be 0 to 1 ({meaning})")
    return value
