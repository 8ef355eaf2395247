"""What a step of the filter mode does: cut, repair, fine-tune, evaluate, pay."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prune_gym.envs.evaluation import Ground
from prune_gym.envs.observation import filter_rows
from prune_gym.envs.state import State
from prune_gym.envs.stepping import Made, Outcome, Stepper
from prune_gym.pruning import ChannelSpace, cut_spaces, dense, legal_mask
from prune_gym.pruning.repair import reestimate_batch_norm
from prune_gym.training import train


class Transition(Stepper):
    """The rules of a step that cuts filters (:class:`prune_gym.envs.stepping.Stepper`)."""

    def __call__(
        self, state: State, bits: npt.NDArray[np.bool_], duration: float, seed: int
    ) -> Outcome:
        """Take one step.

        Args:
            state: Before it; not after the last space.
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
            l1 = rows.abs().sum(dim=1).numpy()
            mask = self.target.clip(bits, mask, state.decided(), l1, norms)
        batches = round(duration * self.max_batches)
        # Without fine-tuning nothing is drawn, so the seed makes no difference.
        key = (mask.tobytes(), batches, seed if batches else 0)
        outcome = self._remembered(
            state, key, lambda: self._carry_out(state, space, mask, batches, seed)
        )
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
        baseline, masks = self.baseline, {space.name: mask}
        ground = None if self._grounds is None else self._grounds.of(state, space)
        described = cut_spaces(state.spaces, masks)
        kept = state.kept | {space.name: state.kept[space.name][mask]}
        counts = {space.name: space.channels for space in described}
        costs = baseline.costs.of(counts)

        # Fine-tuning and batch norm's re-estimation change layers in place.
        share = batches == 0 and baseline.options.recovery != "bn"
        module = dense(state.module, state.spaces, masks, share)
        # Nothing cut, nothing to repair: keeping all filters leaves the network as it is.
        repair = 0
        if not mask.all():
            repair = self._repair(module, space, mask, kept, costs.macs, ground)
        generator = torch.Generator().manual_seed(seed)
        part = self._part(ground, module)
        train(module, baseline.train_split, batches, generator, self.training, part=part)

        position = state.position + 1
        coming = self.visited[position].name if position < len(self.visited) else None
        upcoming = next((other for other in described if other.name == coming), None)
        trained = costs.macs
        if ground is not None and self.tune == "suffix":
            called = ground.program.called_from(ground.start)
            layers = (layer for layer in baseline.geometry.layers if layer.name in called)
            trained = sum(layer.macs(counts) for layer in layers)
        made = Made(
            module=module,
            spaces=described,
            kept=kept,
            costs=costs,
            space=space.name,
            mask=mask,
            changed=False,
            batches=batches,
            # A refit that re-estimates batch norm changes layers before the cut, too.
            elsewhere=baseline.options.recovery == "bn" or (batches > 0 and self.tune == "all"),
            macs=self.tuning_macs(costs.macs, batches, trained) + repair,
        )
        return self._arrive(state, made, upcoming, ground)

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
        baseline, images = self.baseline, len(self.baseline.repair_images)
        if baseline.options.recovery == "none":
            return 0
        if baseline.options.recovery == "bn":
            reestimate_batch_norm(module, baseline.repair_images)
            return macs * images
        spent = (baseline.costs.of().macs + macs) * images
        produced_by = {layer.name: layer.out_space for layer in baseline.geometry.layers}
        refit = baseline.least_squares
        for name in space.consumers:
            if name not in refit.references:
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
