"""What the steps of all action modes have in common."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.costs import Costs
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.evaluation import Evaluation, Ground, Grounds
from prune_gym.envs.reward import Reward, RewardFunction, Standing
from prune_gym.envs.state import BlockRecord, Kept, State, StepRecord
from prune_gym.envs.target import Target
from prune_gym.errors import UnknownNameError
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.graph import Bound, ProgramError
from prune_gym.training import Part, TrainingOptions

TUNE = ("all", "suffix")
MEMO = 32
"""Outcomes that are remembered: an agent's candidates from one state."""


@dataclass(frozen=True)
class Outcome:
    """What a step led to.

    Args:
        state: The state after it, without the random generator's.
        reward: What it paid.
        mask: The executed mask, shape (channels,).
        changed: Whether the rules changed the mask that was asked for.
        batches: Mini-batches of fine-tuning.
        macs: Nominal MACs that it took.
        images: On how many validation images the accuracy was measured.
    """

    state: State
    reward: Reward
    mask: npt.NDArray[np.bool_]
    changed: bool
    batches: int
    macs: int
    images: int


@dataclass(frozen=True)
class StepSettings:
    """The arguments of an environment that its steps go by.

    Args:
        reward: The reward's formula.
        training: Of the fine-tuning.
        max_batches: Mini-batches of duration 1.
        min_keep: Least number of filters (or codes) kept.
        round_to: Kept ones are rounded up to a multiple of this.
        fast: Names of the fast paths (:mod:`prune_gym.envs.evaluation`).
        tune: ``"all"`` layers are fine-tuned, or those from the step's layer on (``"suffix"``).
    """

    reward: RewardFunction
    training: TrainingOptions
    max_batches: int
    min_keep: int
    round_to: int
    fast: frozenset[str]
    tune: str


@dataclass(frozen=True)
class Made:
    """What a step made of the network, before it is evaluated and paid.

    Args:
        module: The new network.
        spaces: Its channel spaces.
        kept: Its channels' numbers in the unpruned network.
        costs: What it costs.
        space: Name of the visited space.
        mask: The executed mask, shape (channels,).
        changed: Whether the rules changed the mask that was asked for.
        batches: Mini-batches of fine-tuning.
        elsewhere: Whether layers before the step's were changed.
        macs: Nominal MACs so far.
        block: Of the ALF mode.
    """

    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    kept: Kept
    costs: Costs
    space: str
    mask: npt.NDArray[np.bool_]
    changed: bool
    batches: int
    elsewhere: bool
    macs: int
    block: BlockRecord | None = None


class Stepper:
    """Takes steps; a call of it changes nothing but makes a new state. One subclass a mode.

    Args:
        baseline: Baseline, data and costs.
        visited: The spaces that an episode walks through.
        settings: Of the steps.
        target: Actions after which it could not be met any more are clipped.

    Raises:
        ProgramError: ``tune="suffix"`` and the network cannot be taken apart.
        UnknownNameError: No such ``tune``.
    """

    def __init__(
        self,
        baseline: Baseline,
        visited: tuple[ChannelSpace, ...],
        settings: StepSettings,
        target: Target,
    ) -> None:
        if settings.tune not in TUNE:
            raise UnknownNameError("tune", settings.tune, TUNE)
        self.baseline, self.visited, self.target = baseline, visited, target
        self.reward, self.training = settings.reward, settings.training
        self.max_batches = settings.max_batches
        self.min_keep, self.round_to = settings.min_keep, settings.round_to
        self.fast, self.tune = settings.fast, settings.tune
        self._memo: OrderedDict[Hashable, tuple[State, Outcome]] = OrderedDict()
        self._grounds = self._make_grounds()

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered goes by the modules' ids, and a copy has other modules.
        return vars(self) | {"_memo": OrderedDict(), "_grounds": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._grounds = self._make_grounds()

    def _make_grounds(self) -> Grounds | None:
        if not self.fast - {"memo"} and self.tune == "all":
            return None
        try:
            program = self.baseline.program
        except ProgramError as error:
            if self.tune == "suffix":
                raise
            gym.logger.warn(f"steps are slow, the fast paths are off: {error}")
            return None
        if self.tune == "suffix" and not program.same_in_training:
            raise ProgramError("tune='suffix': the network calls other layers in training")
        return Grounds(self.baseline, program, self.fast)

    def _remembered(self, state: State, key: Hashable, make: Callable[[], Outcome]) -> Outcome:
        """The outcome of a step, taken where it is not remembered.

        Args:
            state: Before the step.
            key: All that the outcome depends on beside the state.
            make: Takes the step.
        """
        key = (id(state.module), state.position, key)
        remembered = self._memo.get(key)
        if remembered is not None and remembered[0].history == state.history:
            return remembered[1]
        outcome = make()
        if "memo" in self.fast:
            # The state is kept beside it, so its module's id stays its own.
            self._memo[key] = state, outcome
            if len(self._memo) > MEMO:
                self._memo.popitem(last=False)
        return outcome

    def _part(self, ground: Ground | None, module: nn.Module) -> Part | None:
        """What ``tune`` trains; None: the whole network."""
        return None if ground is None or self.tune == "all" else _suffix(ground, module)

    def tuning_macs(self, macs: int, batches: int, trained: int) -> int:
        """What fine-tuning takes, in MACs that no cache makes fewer.

        A step takes ``(macs + 2 * trained) * images`` of it (forward and backward),
        ``macs * images`` of the evaluation, and in the filter mode the repair where filters were
        removed: with ``bn``, ``macs * images``; with ``lsq``, a forward pass of the unpruned and of
        the cut network, and the moments of the least-squares systems.

        Args:
            macs: Of the network after the step, for one image.
            batches: Mini-batches of fine-tuning.
            trained: MACs of the layers that are fine-tuned, for one image.

        Returns:
            MACs.
        """
        return (macs + 2 * trained) * batches * self.training.batch_size

    def _arrive(
        self, state: State, made: Made, upcoming: ChannelSpace | None, ground: Ground | None
    ) -> Outcome:
        """Evaluate what a step made, and pay for it.

        Args:
            state: Before the step.
            made: The new network.
            upcoming: The space that is visited next, as it is now.
            ground: Of the step, where there are fast paths.
        """
        found = self._evaluate(made.module, upcoming, made.elsewhere, ground)
        if self._grounds is not None and not made.elsewhere:
            self._grounds.derived(made.module, state.module)
        reward = self.reward(
            Standing(state.accuracy, state.costs),
            Standing(found.accuracy, made.costs),
            made.batches,
            self.max_batches,
        )
        macs = made.macs + made.costs.macs * len(self.baseline.eval_labels)
        record = StepRecord(
            made.space,
            made.mask,
            made.batches,
            found.accuracy,
            made.costs,
            reward.total,
            made.block,
        )
        following = replace(
            state,
            module=made.module,
            spaces=made.spaces,
            kept=made.kept,
            position=state.position + 1,
            accuracy=found.accuracy,
            costs=made.costs,
            activation=found.activation,
            search_macs=state.search_macs + macs,
            history=(*state.history, record),
        )
        return Outcome(following, reward, made.mask, made.changed, made.batches, macs, found.images)

    def _evaluate(
        self, module: nn.Module, upcoming: ChannelSpace | None, changed: bool, ground: Ground | None
    ) -> Evaluation:
        """Accuracy, and the activations that the next observation shows."""
        if ground is not None:
            # From there on the accuracy term of the reward is -1, whatever the accuracy.
            hopeless = self.reward.baseline_accuracy - 2 * self.reward.tolerance
            return ground.evaluate(module, upcoming, changed, hopeless)
        spaces = [] if upcoming is None else [upcoming]
        accuracy, activations = self.baseline.evaluate(module, spaces)
        activation = next(iter(activations.values()), np.zeros(0, np.float32))
        return Evaluation(accuracy, activation, len(self.baseline.eval_labels))


def _suffix(ground: Ground, module: nn.Module) -> Part:
    """Training of the layers from the cut on; those before run folded, without gradients."""
    bound = Bound(ground.program, module, fold=False)

    def forward(images: Tensor) -> Tensor:
        with torch.no_grad():
            values = ground.bound.run({0: images}, 1, ground.start)
        logits: Tensor = bound.logits(values, ground.start)
        return logits

    layers = bound.layers_from(ground.start)
    return Part(forward, [parameter for layer in layers for parameter in layer.parameters()])
