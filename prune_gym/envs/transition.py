"""What a step does to a state: cut, repair, fine-tune, evaluate, pay."""

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.envs.fast import Evaluation, Ground, Grounds
from prune_gym.envs.observation import filter_rows
from prune_gym.envs.reward import Reward, RewardFunction
from prune_gym.envs.state import State, StepRecord
from prune_gym.envs.target import Target
from prune_gym.envs.task import Task
from prune_gym.errors import UnknownNameError
from prune_gym.program import Bound, ProgramError
from prune_gym.repair import reestimate_batch_norm
from prune_gym.surgery import ChannelSpace, cut_spaces, dense, legal_mask
from prune_gym.training import Part, TrainingOptions, train


@dataclass(frozen=True)
class Outcome:
    """What a step led to.

    Args:
        state: The state behind it, without the random generator's.
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


TUNE = ("all", "suffix")
MEMO = 32
"""Outcomes that are remembered: an agent's candidates from one state."""

_Key = tuple[int, int, bytes, int, int]


class Transition:
    """The rules of a step; a call of it changes nothing but makes a new state.

    Args:
        task: Baseline, data and costs.
        visited: The spaces that an episode walks through.
        reward: The reward's formula.
        training: Of the fine-tuning.
        max_batches: Mini-batches of duration 1.
        min_keep: Least number of filters kept.
        round_to: Kept filters are rounded up to a multiple of this.
        fast: Names of the fast paths (:mod:`prune_gym.envs.fast`).
        tune: ``"all"`` layers are fine-tuned, or those from the cut on (``"suffix"``).
        target: Actions after which it could not be met any more are clipped.

    Raises:
        ProgramError: ``tune="suffix"`` and the network cannot be taken apart.
    """

    def __init__(
        self,
        task: Task,
        visited: tuple[ChannelSpace, ...],
        reward: RewardFunction,
        training: TrainingOptions,
        max_batches: int,
        min_keep: int,
        round_to: int,
        fast: frozenset[str],
        tune: str,
        target: Target,
    ) -> None:
        if tune not in TUNE:
            raise UnknownNameError("tune", tune, TUNE)
        self.task, self.visited, self.reward, self.training = task, visited, reward, training
        self.max_batches, self.min_keep, self.round_to = max_batches, min_keep, round_to
        self.fast, self.tune, self.target = fast, tune, target
        self._memo: OrderedDict[_Key, tuple[State, Outcome]] = OrderedDict()
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
            program = self.task.program
        except ProgramError as error:
            if self.tune == "suffix":
                raise
            gym.logger.warn(f"steps are slow, the fast paths are off: {error}")
            return None
        if self.tune == "suffix" and not program.same_in_training:
            raise ProgramError("tune='suffix': the network calls other layers in training")
        return Grounds(self.task, program, self.fast)

    def __call__(
        self, state: State, bits: npt.NDArray[np.bool_], duration: float, seed: int
    ) -> Outcome:
        """Take one step.

        Args:
            state: Before it; not behind the last space.
            bits: Which filters stay, padded, shape (n_max,).
            duration: 0 to 1, of ``max_batches``.
            seed: Of the fine-tuning's images and augmentation.

        Returns:
            The outcome.
        """
        space = state.space(self.visited[state.position].name)
        bits = bits[: space.channels]
        rows = filter_rows(state.module, space)
        norms = rows.norm(dim=1).numpy()
        mask = legal_mask(bits, norms, self.min_keep, self.round_to)
        if self.target.bounds_costs:
            counts = state.counts()
            before = tuple(counts[other.name] for other in self.visited[: state.position])
            mask = self.target.clip(bits, mask, before, rows.abs().sum(dim=1).numpy(), norms)
        batches = round(duration * self.max_batches)
        # Without fine-tuning nothing is drawn, so the seed makes no difference.
        key = (id(state.module), state.position, mask.tobytes(), batches, seed if batches else 0)
        remembered = self._memo.get(key)
        if remembered is not None and remembered[0].history == state.history:
            outcome = remembered[1]
        else:
            outcome = self._carry_out(state, space, mask, batches, seed)
            if "memo" in self.fast:
                # The state is kept beside it, so its module's id stays its own.
                self._memo[key] = state, outcome
                if len(self._memo) > MEMO:
                    self._memo.popitem(last=False)
        return replace(outcome, changed=bool((mask != bits).any()))

    def _carry_out(
        self,
        state: State,
        space: ChannelSpace,
        mask: npt.NDArray[np.bool_],
        batches: int,
        seed: int,
    ) -> Outcome:
        """Cut, repair, fine-tune, evaluate and pay."""
        task, masks = self.task, {space.name: mask}
        ground = None if self._grounds is None else self._grounds.of(state, space)
        described = cut_spaces(state.spaces, masks)
        kept = state.kept | {space.name: state.kept[space.name][mask]}
        counts = {space.name: space.channels for space in described}
        costs = task.costs.of(counts)

        # Fine-tuning and batch norm's re-estimation change layers in place.
        share = batches == 0 and task.options.recovery != "bn"
        module = dense(state.module, state.spaces, masks, share)
        # Nothing cut, nothing to repair: keeping all filters leaves the network as it is.
        repair = 0
        if not mask.all():
            repair = self._repair(module, space, mask, kept, costs.macs, ground)
        generator = torch.Generator().manual_seed(seed)
        part = None if ground is None or self.tune == "all" else _suffix(ground, module)
        train(module, task.train_split, batches, generator, self.training, part=part)

        position = state.position + 1
        coming = self.visited[position].name if position < len(self.visited) else None
        upcoming = next((other for other in described if other.name == coming), None)
        # A refit that re-estimates batch norm changes layers before the cut, too.
        changed = task.options.recovery == "bn" or (batches > 0 and self.tune == "all")
        found = self._evaluate(module, upcoming, changed, ground)
        if self._grounds is not None and not changed:
            self._grounds.derived(module, state.module)
        objective = task.costs.objective
        reward = self.reward(
            found.accuracy,
            state.costs.of(objective),
            costs.of(objective),
            batches,
            self.max_batches,
        )
        trained = costs.macs
        if ground is not None and self.tune == "suffix":
            called = ground.program.called_from(ground.start)
            layers = (layer for layer in task.geometry.layers if layer.name in called)
            trained = sum(layer.macs(counts) for layer in layers)
        macs = self.nominal_macs(costs.macs, batches, repair, trained)
        record = StepRecord(space.name, mask, batches, found.accuracy, costs, reward.total)
        following = replace(
            state,
            module=module,
            spaces=described,
            kept=kept,
            position=position,
            accuracy=found.accuracy,
            costs=costs,
            activation=found.activation,
            search_macs=state.search_macs + macs,
            history=(*state.history, record),
        )
        return Outcome(following, reward, mask, False, batches, macs, found.images)

    def nominal_macs(self, macs: int, batches: int, repair: int, trained: int) -> int:
        """What a step takes, in MACs that no cache or early exit makes fewer.

        ``(macs + 2 * trained) * images`` of fine-tuning (forward and backward),
        ``macs * images`` of the evaluation, and the repair where filters were removed: with
        ``bn``, ``macs * images``; with ``lsq``, a forward pass of the unpruned and of the cut
        network, and the moments of the least-squares systems.

        Args:
            macs: Of the network behind the step, for one image.
            batches: Mini-batches of fine-tuning.
            repair: MACs of the repair.
            trained: MACs of the layers that are fine-tuned, for one image.

        Returns:
            MACs.
        """
        tuning = (macs + 2 * trained) * batches * self.training.batch_size
        return tuning + repair + macs * len(self.task.eval_labels)

    def _evaluate(
        self, module: nn.Module, upcoming: ChannelSpace | None, changed: bool, ground: Ground | None
    ) -> Evaluation:
        """Accuracy, and the activations that the next observation shows."""
        if ground is not None:
            # From there on the accuracy term of the reward is -1, whatever the accuracy.
            hopeless = self.reward.baseline_accuracy - 2 * self.reward.tolerance
            return ground.evaluate(module, upcoming, changed, hopeless)
        spaces = [] if upcoming is None else [upcoming]
        accuracy, activations = self.task.evaluate(module, spaces)
        activation = next(iter(activations.values()), np.zeros(0, np.float32))
        return Evaluation(accuracy, activation, len(self.task.eval_labels))

    def _repair(
        self,
        module: nn.Module,
        space: ChannelSpace,
        mask: npt.NDArray[np.bool_],
        kept: dict[str, npt.NDArray[np.int64]],
        macs: int,
        ground: Ground | None,
    ) -> int:
        """Repair a cut network; returns the nominal MACs of it."""
        task, images = self.task, len(self.task.repair_images)
        if task.options.recovery == "none":
            return 0
        if task.options.recovery == "bn":
            reestimate_batch_norm(module, task.repair_images)
            return macs * images
        spent = (task.costs.of().macs + macs) * images
        produced_by = {layer.name: layer.out_space for layer in task.geometry.layers}
        refit = task.least_squares
        for name in space.consumers:
            if name not in refit.targets:
                continue
            produced = produced_by[name]
            left = None if produced is None else torch.from_numpy(kept[produced])
            if ground is None:
                spent += refit.refit(module, name, left)
            elif "moments" in self.fast and ground.program.independent(space):
                spent += refit.solve(module, name, ground.moments(name).of_channels(mask), left)
            else:
                # What a later consumer reads depends on the earlier ones' refit.
                inputs = ground.inputs(ground.bind(module), name)
                spent += refit.solve(module, name, refit.moments(module, name, inputs), left)
        return spent


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
