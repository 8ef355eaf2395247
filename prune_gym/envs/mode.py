"""What an action means: the spaces an episode visits, the action's form, and its step."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from prune_gym.costs import CostModel
from prune_gym.envs.actions import Action, checked_action
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.observation import Observer
from prune_gym.envs.state import State
from prune_gym.envs.stepping import Outcome, Stepper, StepSettings
from prune_gym.envs.target import Target
from prune_gym.envs.transition import Transition
from prune_gym.errors import UnknownNameError
from prune_gym.pruning import ChannelSpace

MODES = ("filters", "alf")


@dataclass(frozen=True)
class ModeSettings:
    """The arguments of an environment that its mode goes by.

    Args:
        order: Of the visits.
        scope: What is visited.
        observation: Kind of the observation.
        target: What is wanted of the final network, or None.
        step: What the steps go by.
    """

    order: str
    scope: str
    observation: str
    target: Mapping[str, float] | None
    step: StepSettings


class Mode(ABC):
    """One way to act on a network; made once for an environment.

    Attributes:
        visited: What an episode walks through; in the ALF mode the code spaces to be.
        observer: Makes the observations.
        target: What is wanted of the final network.
        transition: Takes the steps.
        action_space: The action's form.
    """

    visited: tuple[ChannelSpace, ...]
    observer: Observer
    target: Target
    transition: Stepper
    action_space: spaces.Dict

    @abstractmethod
    def checked(self, action: Action) -> tuple[Any, float]:
        """An action as :meth:`step` takes it: what is to be done, and the duration.

        Raises:
            ValueError: An action of another form, not finite or out of range.
        """

    @abstractmethod
    def step(self, state: State, checked: tuple[Any, float], seed: int) -> Outcome:
        """Take a step.

        Args:
            state: Before it; not after the last space.
            checked: From :meth:`checked`.
            seed: Of all that is drawn.
        """

    @abstractmethod
    def fits(self, state: State) -> bool:
        """Whether a state is of this mode's network."""

    def info(self, outcome: Outcome) -> dict[str, Any]:
        """What ``info`` tells of an executed action."""
        padded = np.zeros(self.observer.width, np.int8)
        padded[: outcome.mask.size] = outcome.mask
        return {
            "mask": padded,
            "mask_changed": outcome.changed,
            "batches": outcome.batches,
            "evaluated_images": outcome.images,
            "rewards": outcome.reward.as_dict(),
        }

    def _prepare(
        self, baseline: Baseline, settings: ModeSettings, costs: CostModel, observer: type[Observer]
    ) -> None:
        """Observer and target, which all modes make of what they visit."""
        self.observer = observer(baseline, self.visited, settings.observation)
        self.target = Target(
            settings.target,
            costs,
            self.visited,
            baseline.accuracy,
            settings.step.min_keep,
            settings.step.round_to,
        )


def unit_box() -> spaces.Box:
    """One number within [0, 1]."""
    return spaces.Box(0.0, 1.0, (1,), np.float32)


class FilterMode(Mode):
    """An action keeps some filters of a channel space and removes the others.

    Args:
        baseline: Baseline, data and costs.
        settings: The environment's arguments.

    Raises:
        TargetError: No network within reach meets the target.
        ValueError: An argument is out of range or unknown.
    """

    def __init__(self, baseline: Baseline, settings: ModeSettings) -> None:
        self._names = set(baseline.geometry.counts())
        self.visited = baseline.visited(settings.order, settings.scope)
        self._prepare(baseline, settings, baseline.costs, Observer)
        self._take = Transition(baseline, self.visited, settings.step, self.target)
        self.transition = self._take
        self.action_space = spaces.Dict(
            {"duration": unit_box(), "mask": spaces.MultiBinary(self.observer.width)}
        )

    def checked(self, action: Action) -> tuple[Any, float]:
        """See :meth:`Mode.checked`; mask and duration."""
        return checked_action(action, self.observer.width)

    def step(self, state: State, checked: tuple[Any, float], seed: int) -> Outcome:
        """See :meth:`Mode.step`."""
        return self._take(state, *checked, seed)

    def fits(self, state: State) -> bool:
        """See :meth:`Mode.fits`."""
        return {space.name for space in state.spaces} == self._names


def make_mode(name: str, baseline: Baseline, settings: ModeSettings) -> Mode:
    """A mode by name.

    Raises:
        UnknownNameError: No such mode.
        PruneGymError: The network has nothing to visit, or the target is out of reach.
        ValueError: An argument is out of range or unknown.
    """
    check_mode(name)
    if name == "filters":
        return FilterMode(baseline, settings)
    from prune_gym.envs.alf_mode import ALFMode

    return ALFMode(baseline, settings)


def check_mode(name: str) -> None:
    """Refuse a mode that there is not.

    Raises:
        UnknownNameError: Naming it.
    """
    if name not in MODES:
        raise UnknownNameError("action_mode", name, MODES)
