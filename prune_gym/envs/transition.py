"""What a step does to a state: cut, repair, fine-tune, evaluate, pay."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prune_gym.envs.observation import filter_rows
from prune_gym.envs.reward import Reward, RewardFunction
from prune_gym.envs.state import State, StepRecord
from prune_gym.envs.task import Task
from prune_gym.repair import reestimate_batch_norm
from prune_gym.surgery import ChannelSpace, cut_spaces, dense, legal_mask
from prune_gym.training import TrainingOptions, train


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
    """

    state: State
    reward: Reward
    mask: npt.NDArray[np.bool_]
    changed: bool
    batches: int
    macs: int


@dataclass(frozen=True)
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
    """

    task: Task
    visited: tuple[ChannelSpace, ...]
    reward: RewardFunction
    training: TrainingOptions
    max_batches: int
    min_keep: int
    round_to: int

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
        task = self.task
        space = state.space(self.visited[state.position].name)
        bits = bits[: space.channels]
        norms = filter_rows(state.module, space).norm(dim=1).numpy()
        mask = legal_mask(bits, norms, self.min_keep, self.round_to)
        batches = round(duration * self.max_batches)

        masks = {space.name: mask}
        module = dense(state.module, state.spaces, masks)
        described = cut_spaces(state.spaces, masks)
        kept = state.kept | {space.name: state.kept[space.name][mask]}
        counts = {space.name: space.channels for space in described}
        costs = task.costs.of(counts)
        # Nothing cut, nothing to repair: keeping all filters leaves the network as it is.
        repair = 0 if mask.all() else self._repair(module, space.consumers, kept, costs.macs)
        generator = torch.Generator().manual_seed(seed)
        train(module, task.train_split, batches, generator, self.training)

        position = state.position + 1
        names = {visited.name for visited in self.visited[position : position + 1]}
        upcoming = [space for space in described if space.name in names]
        accuracy, activations = task.evaluate(module, upcoming)
        objective = task.costs.objective
        reward = self.reward(
            accuracy, state.costs.of(objective), costs.of(objective), batches, self.max_batches
        )
        macs = self.nominal_macs(costs.macs, batches, repair)
        record = StepRecord(space.name, mask, batches, accuracy, costs, reward.total)
        following = replace(
            state,
            module=module,
            spaces=described,
            kept=kept,
            position=position,
            accuracy=accuracy,
            costs=costs,
            activation=next(iter(activations.values()), np.zeros(0, np.float32)),
            search_macs=state.search_macs + macs,
            history=(*state.history, record),
        )
        return Outcome(following, reward, mask, bool((mask != bits).any()), batches, macs)

    def nominal_macs(self, macs: int, batches: int, repair: int) -> int:
        """What a step takes, in MACs that no cache or early exit makes fewer.

        ``3 * macs * images`` of fine-tuning (forward and backward), ``macs * images`` of the
        evaluation, and the repair where filters were removed: with ``bn``, ``macs * images``;
        with ``lsq``, a forward pass of the unpruned and of the cut network, and the moments of
        the least-squares systems.

        Args:
            macs: Of the network behind the step, for one image.
            batches: Mini-batches of fine-tuning.
            repair: MACs of the repair.

        Returns:
            MACs.
        """
        tuning = 3 * macs * batches * self.training.batch_size
        return tuning + repair + macs * len(self.task.eval_labels)

    def _repair(
        self,
        module: nn.Module,
        consumers: Sequence[str],
        kept: dict[str, npt.NDArray[np.int64]],
        macs: int,
    ) -> int:
        """Repair a cut network in place; returns the nominal MACs of it."""
        task, images = self.task, len(self.task.repair_images)
        if task.options.recovery == "none":
            return 0
        if task.options.recovery == "bn":
            reestimate_batch_norm(module, task.repair_images)
            return macs * images
        spent = (task.costs.of().macs + macs) * images
        produced_by = {layer.name: layer.out_space for layer in task.geometry.layers}
        for name in consumers:
            if name in task.least_squares.targets:
                produced = produced_by[name]
                left = None if produced is None else torch.from_numpy(kept[produced])
                spent += task.least_squares.refit(module, name, left)
        return spent
