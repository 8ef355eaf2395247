"""What a step of the ALF mode does: take a convolution apart, train, deploy, evaluate, pay."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.alf import (
    ALFConv2d,
    ALFOptions,
    deploy,
    task_parameters,
    to_alf,
    two_player_train,
)
from prune_gym.costs import CostModel
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.evaluation import Ground
from prune_gym.envs.state import BlockRecord, State
from prune_gym.envs.stepping import Made, Outcome, Stepper, StepSettings
from prune_gym.envs.target import Target
from prune_gym.pruning import ChannelSpace, dense, legal_mask
from prune_gym.pruning.repair import LeastSquares, layer_inputs, reestimate_batch_norm
from prune_gym.training import train

Mask = npt.NDArray[np.bool_]


class ALFTransition(Stepper):
    """The rules of a step that compresses a convolution.

    The autoencoder is always updated ``updates * max_batches`` times first, whatever the duration,
    as that needs no images; during two-player training it is updated on.

    Args:
        baseline: Baseline, data and costs.
        visited: The code spaces to be, in the order of the visits.
        settings: Of the steps.
        target: Codes with which it could not be met any more are dropped.
        costs: By counts of codes.
        options: Of the blocks; an action's sparsity takes the place of their ``pr_max``.

    Raises:
        ProgramError: ``tune="suffix"`` and the network cannot be taken apart into calls.
        UnknownNameError: No such ``tune``.
    """

    def __init__(
        self,
        baseline: Baseline,
        visited: tuple[ChannelSpace, ...],
        settings: StepSettings,
        target: Target,
        costs: CostModel,
        options: ALFOptions,
    ) -> None:
        super().__init__(baseline, visited, settings, target)
        self.costs, self.options = costs, options
        self._layers = {layer.name: layer for layer in baseline.geometry.layers}
        self._refit: LeastSquares | None = None

    def __call__(self, state: State, sparsity: float, duration: float, seed: int) -> Outcome:
        """Take one step.

        Args:
            state: Before it; not after the last convolution.
            sparsity: Share of codes to remove, 0 to 1.
            duration: 0 to 1, of ``max_batches``.
            seed: Of the training's images and augmentation.

        Returns:
            The outcome.
        """
        batches = round(duration * self.max_batches)
        # Without training nothing is drawn, so the seed makes no difference.
        key = (sparsity, batches, seed if batches else 0)
        return self._remembered(state, key, lambda: self._carry_out(state, sparsity, batches, seed))

    def _carry_out(self, state: State, sparsity: float, batches: int, seed: int) -> Outcome:
        """Compress, train, deploy, evaluate and pay."""
        place = state.position
        space = self.visited[place]
        upcoming = self.visited[place + 1] if place + 1 < len(self.visited) else None
        ground = None if self._grounds is None else self._grounds.of(state, space)
        generator = torch.Generator().manual_seed(seed)
        before = state.decided()
        most = self.target.allowed(before, space.channels)
        asked = max(sparsity, float(np.float32(1 - most / space.channels)))
        if asked == 0:
            made = self._whole(state, space, batches, generator, ground)
        else:
            made = self._compressed(state, space, asked, batches, generator, ground)
            made = replace(made, changed=made.changed or asked > sparsity)
        return self._arrive(state, made, upcoming, ground)

    # A convolution that stays whole

    def _whole(
        self,
        state: State,
        space: ChannelSpace,
        batches: int,
        generator: torch.Generator,
        ground: Ground | None,
    ) -> Made:
        module = dense(state.module, state.spaces, {}, share=batches == 0)
        part = self._part(ground, module)
        train(module, self.baseline.train_split, batches, generator, self.training, part=part)
        trained = self._trained_macs(state, ground, state.costs.macs)
        return Made(
            module=module,
            spaces=state.spaces,
            kept=state.kept,
            costs=state.costs,
            space=space.name,
            mask=np.ones(space.channels, bool),
            changed=False,
            batches=batches,
            elsewhere=batches > 0 and self.tune == "all",
            macs=self.tuning_macs(state.costs.macs, batches, trained),
            block=BlockRecord(0.0, space.channels, True, 0.0, 0),
        )

    # A convolution that is taken apart

    def _compressed(
        self,
        state: State,
        space: ChannelSpace,
        asked: float,
        batches: int,
        generator: torch.Generator,
        ground: Ground | None,
    ) -> Made:
        layer = space.producers[0]
        options = replace(self.options, pr_max=asked)
        module = to_alf(state.network(self.baseline.network), [layer], options)
        block = module.get_submodule(layer)
        assert isinstance(block, ALFConv2d)
        updates = options.updates * self.max_batches
        for _ in range(updates):
            block.autoencoder_step()
        before = state.decided()
        changed = self.hold(block, before)
        block.fold()
        spent = self.repair(module, layer, state.costs.macs, ground)
        # A block runs the codes that are alive; two-player training can but lose more of them.
        running = state.costs.macs + self._more_macs(space, block.codes_alive)
        if batches:
            part = self._part(ground, module)
            if part is not None:
                own = set(map(id, task_parameters(module)))
                part = replace(part, parameters=[p for p in part.parameters if id(p) in own])
            two_player_train(
                module, self.baseline.train_split, batches, generator, self.training, part=part
            )
            if self.hold(block, before):
                changed = True
                spent += self.repair(module, layer, state.costs.macs, ground)
        updates += options.updates * batches
        mask = block.alive().numpy()
        deployed = deploy(module, state.network(self.baseline.network))
        merged = isinstance(deployed.module.get_submodule(layer), nn.Conv2d)
        kept = state.kept if merged else state.kept | {space.name: np.flatnonzero(mask)}
        counts = self._counts(state) | {space.name: int(mask.sum())}
        trained = self._trained_macs(state, ground, running)
        spent += self.tuning_macs(running, batches, trained) + self.update_macs(space) * updates
        return Made(
            module=deployed.module,
            spaces=deployed.spaces,
            kept=kept,
            costs=self.costs.of(counts),
            space=space.name,
            mask=mask,
            changed=changed,
            batches=batches,
            elsewhere=self.baseline.options.recovery == "bn"
            or (batches > 0 and self.tune == "all"),
            macs=spent,
            block=BlockRecord(
                asked, int(mask.sum()), merged, block.reconstruction_error(), updates
            ),
        )

    def hold(self, block: ALFConv2d, before: tuple[int, ...]) -> bool:
        """Hold a block's codes to the rules and the target; whether that changed any.

        Codes too many are dropped, smallest mask entry first; too few are put back, largest first.

        Args:
            block: Changed in place.
            before: Codes of the convolutions that were visited before it.
        """
        alive = block.alive().numpy()
        sizes = block.mask.detach().abs().cpu().numpy()
        wanted = legal_mask(alive, sizes, self.min_keep, self.round_to)
        if self.target.bounds_costs:
            wanted = self.target.clip(alive, wanted, before, sizes, sizes)
        if (wanted == alive).all():
            return False
        with torch.no_grad():
            block.mask[torch.from_numpy(~wanted)] = 0
            block.mask[torch.from_numpy(wanted & ~alive)] = 1
        return True

    def refit(self) -> LeastSquares:
        """What refits expansions; its references are the unpruned convolutions' outputs."""
        if self._refit is None:
            names = [space.producers[0] for space in self.visited]
            self._refit = LeastSquares(self.baseline.module, names, self.baseline.repair_images)
        return self._refit

    def repair(self, module: nn.Module, layer: str, macs: int, ground: Ground | None) -> int:
        """Repair a network after a block's loss of codes.

        Args:
            module: With the block, in ``eval`` mode; changed in place.
            layer: The block's name.
            macs: Of the network, for one image.
            ground: Shared work of the state, or None.

        Returns:
            Nominal MACs of it.
        """
        baseline, images = self.baseline, len(self.baseline.repair_images)
        if baseline.options.recovery == "none":
            return 0
        if baseline.options.recovery == "bn":
            reestimate_batch_norm(module, baseline.repair_images)
            return macs * images
        block = module.get_submodule(layer)
        assert isinstance(block, ALFConv2d)
        codes = torch.from_numpy(np.flatnonzero(block.alive().numpy()))
        # The expansion of the codes that are left, as a layer of its own.
        expansion = copy.deepcopy(block.expansion)
        expansion.weight = nn.Parameter(block.expansion_filters().detach())
        refit = copy.copy(self.refit())
        refit.references = {"": refit.references[layer]}
        with torch.no_grad():
            inputs = (block.codes(x)[:, codes] for x in self._inputs(module, layer, ground))
            moments = refit.moments(expansion, "", inputs)
            spent = refit.solve(expansion, "", moments)
            block.set_expansion(expansion.weight)
            if expansion.bias is not None and block.expansion.bias is not None:
                block.expansion.bias.copy_(expansion.bias)
        return spent + (baseline.costs.of().macs + macs) * images

    def _inputs(self, module: nn.Module, layer: str, ground: Ground | None) -> Iterator[Tensor]:
        """What the block reads of the repair images, batch by batch."""
        if ground is not None:
            return ground.inputs(ground.bind(module), layer)
        return layer_inputs(module, module.get_submodule(layer), self.baseline.repair_images)

    # What it costs

    def _counts(self, state: State) -> dict[str, int]:
        """Codes of the convolutions that were decided."""
        decided = zip(self.visited, state.history, strict=False)
        return {space.name: record.count for space, record in decided}

    def _more_macs(self, space: ChannelSpace, codes: int) -> int:
        """What a block of so many codes takes more than its convolution, in MACs for one image."""
        layer = self._layers[space.producers[0]]
        each = layer.in_channels * layer.kernel[0] * layer.kernel[1]
        filters = codes * (each + space.channels) - space.channels * each
        return filters * layer.out_size[0] * layer.out_size[1]

    def update_macs(self, space: ChannelSpace) -> int:
        """MACs of one update of a block's autoencoder.

        Encoder and decoder, each n x n on n filters of r weights, forward and twice that backward:
        ``6 * n^2 * r``.
        """
        layer = self._layers[space.producers[0]]
        row = layer.in_channels * layer.kernel[0] * layer.kernel[1]
        return 6 * space.channels**2 * row

    def _trained_macs(self, state: State, ground: Ground | None, macs: int) -> int:
        """MACs of the layers that ``tune`` trains, for one image, of so many in all."""
        if ground is None or self.tune == "all":
            return macs
        called = ground.program.called_from(ground.start)
        numbered = self.costs.geometry.numbered(self.costs.geometry.counts(self._counts(state)))
        counts = self.costs.geometry.counts(self._counts(state))
        before = sum(
            layer.macs(counts)
            for _, layer in numbered
            if layer.name not in called and layer.name.rpartition(".")[0] not in called
        )
        return macs - before
