"""The ALF mode: an action compresses one convolution into codes and an expansion."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from prune_gym.alf import (
    ALFConv2d,
    ALFOptions,
    deploy,
    task_parameters,
    to_alf,
    two_player_train,
)
from prune_gym.alf.allocate import hold_codes
from prune_gym.alf.geometry import CodeGeometry, block_macs, code_spaces, update_macs
from prune_gym.alf.repair import BlockRepair
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.config import EnvConfig
from prune_gym.envs.evaluation import DirectEvaluator
from prune_gym.envs.filter_mode import tuning_macs
from prune_gym.envs.mode import Action, Choice, Mode, check_entries, unit_box, unit_value
from prune_gym.envs.observation import ERROR, ALFObserver
from prune_gym.envs.state import Build, State, StepRecord
from prune_gym.errors import PruneGymError
from prune_gym.interface import Info
from prune_gym.pruning import ChannelSpace, dense
from prune_gym.pruning.finished import BlockRecord, FinishedNetwork
from prune_gym.training import train


@dataclass(frozen=True)
class CodeChoice(Choice):
    """The share of codes to remove.

    Args:
        batches: Mini-batches of two-player training.
        changed: Whether the target raised the sparsity.
        sparsity: Share of codes that the autoencoder should remove, 0 to 1.
    """

    sparsity: float

    @property
    def key(self) -> Hashable:
        """See :attr:`Choice.key`."""
        return self.sparsity, self.batches


class ALFMode(Mode[CodeChoice]):
    """An action compresses one convolution (:mod:`prune_gym.alf`) without removing its outputs.

    ``order`` is the order of the convolutions. ``scope="inner"`` excludes convolutions that read
    the images. Convolutions that are already compressed in the given network are not visited.

    The autoencoder is first updated ``updates * max_batches`` times, whatever the duration, since
    this needs no images; two-player training continues the updates.

    Raises:
        PruneGymError: If the network has no convolution to visit.
        TargetError: If no reachable network meets the target.
    """

    def __init__(self, config: EnvConfig, baseline: Baseline, evaluator: DirectEvaluator) -> None:
        every = config.scope == "all"
        visited = code_spaces(baseline.module, baseline.geometry, baseline.eval_images, every)
        if not visited:
            raise PruneGymError(
                "action_mode='alf' finds no dense convolution with a kernel above 1"
                + ("; use 'filters'." if every else "; try scope='all'.")
            )
        if config.order == "backward":
            visited = visited[::-1]
        costs = baseline.costs.of_geometry(CodeGeometry(baseline.geometry, visited))
        observer = ALFObserver(baseline, visited, config.observation)
        super().__init__(config, baseline, visited, costs, observer)
        self.evaluator, self.options = evaluator, ALFOptions()
        self.action_space = spaces.Dict({"duration": unit_box(), "sparsity": unit_box()})
        self.layers = {layer.name: layer for layer in baseline.geometry.layers}
        names = [space.producers[0] for space in visited]
        self.repair = BlockRepair(
            baseline.module,
            names,
            baseline.repair_images,
            config.recovery,
            baseline.costs.of().macs,
        )

    def parse(self, state: State, action: Action) -> CodeChoice:
        """See :meth:`Mode.parse`; a target may raise the sparsity."""
        check_entries(action, "sparsity", "duration")
        given = unit_value("sparsity", action["sparsity"], "the share of codes to remove")
        duration = unit_value("duration", action["duration"], "of max_epochs")
        # The type of the action space, so that records replay bit for bit.
        requested = float(np.float32(given))
        channels = self.visited[state.position].channels
        most = self.target.allowed(state.decided(), channels)
        sparsity = max(requested, float(np.float32(1 - most / channels)))
        return CodeChoice(round(duration * self.max_batches), sparsity > requested, sparsity)

    def build(self, state: State, choice: CodeChoice, seed: int) -> Build:
        """See :meth:`Mode.build`."""
        make = self._compressed if choice.sparsity else self._whole
        return make(state, self.visited[state.position], choice, seed)

    def _whole(self, state: State, space: ChannelSpace, choice: CodeChoice, seed: int) -> Build:
        """Fine-tune without compressing the convolution."""
        batches, macs = choice.batches, state.costs.macs
        module = dense(state.module, state.spaces, {}, share=batches == 0)
        part = self.evaluator.trained_part(state, space, module)
        split, training = self.baseline.train_split, self.config.training
        generator = torch.Generator().manual_seed(seed)
        normalize = self.baseline.network.normalize
        train(module, split, batches, generator, training, part=part, normalization=normalize)
        trained = self._trained_macs(state, space, macs)
        return Build(
            space=space,
            module=module,
            spaces=state.spaces,
            kept=state.kept,
            counts=self._counts(state) | {space.name: space.channels},
            mask=np.ones(space.channels, bool),
            batches=batches,
            macs=tuning_macs(self.config, macs, batches, trained),
            keeps_prefix=batches == 0 or self.config.tune == "suffix",
            block=BlockRecord(0.0, space.channels, True, 0.0, 0),
        )

    def _compressed(
        self, state: State, space: ChannelSpace, choice: CodeChoice, seed: int
    ) -> Build:
        """Replace the convolution by codes and an expansion, repair and train."""
        layer, batches, before = space.producers[0], choice.batches, state.decided()
        module, block = self._with_block(state, layer, choice.sparsity)
        changed = hold_codes(block, before, self.target.hold)
        block.fold()
        spent = self._repaired(state, space, module)
        # A block runs the codes that are alive; two-player training can only reduce their number.
        shape = self.layers[layer]
        running = state.costs.macs + block_macs(shape, block.codes_alive) - shape.macs({})
        if batches:
            self._train(state, space, module, batches, seed)
            if hold_codes(block, before, self.target.hold):
                changed = True
                spent += self._repaired(state, space, module)
        updates = self.options.updates * (self.max_batches + batches)
        mask = block.alive().numpy()
        deployed = deploy(module, state.network(self.baseline.network))
        merged = isinstance(deployed.module.get_submodule(layer), nn.Conv2d)
        kept = state.kept if merged else {**state.kept, space.name: np.flatnonzero(mask)}
        trained = self._trained_macs(state, space, running)
        spent += tuning_macs(self.config, running, batches, trained)
        spent += update_macs(shape) * updates
        codes, error = int(mask.sum()), block.reconstruction_error()
        tuned_whole = batches > 0 and self.config.tune == "all"
        return Build(
            space=space,
            module=deployed.module,
            spaces=deployed.spaces,
            kept=kept,
            counts=self._counts(state) | {space.name: codes},
            mask=mask,
            batches=batches,
            macs=spent,
            keeps_prefix=not (tuned_whole or self.config.recovery == "bn"),
            changed=changed,
            block=BlockRecord(choice.sparsity, codes, merged, error, updates),
        )

    def _with_block(self, state: State, layer: str, sparsity: float) -> tuple[nn.Module, ALFConv2d]:
        """The network with a block instead of a convolution, after the updates without images."""
        options = replace(self.options, pr_max=sparsity)
        module = to_alf(state.network(self.baseline.network), [layer], options)
        block = module.get_submodule(layer)
        assert isinstance(block, ALFConv2d)
        for _ in range(options.updates * self.max_batches):
            block.autoencoder_step()
        return module, block

    def _train(
        self, state: State, space: ChannelSpace, module: nn.Module, batches: int, seed: int
    ) -> None:
        """Train a network with a block by two-player training, in place."""
        part = self.evaluator.trained_part(state, space, module)
        if part is not None:
            own = set(map(id, task_parameters(module)))
            part = replace(part, parameters=[p for p in part.parameters if id(p) in own])
        split, training = self.baseline.train_split, self.config.training
        generator = torch.Generator().manual_seed(seed)
        normalize = self.baseline.network.normalize
        two_player_train(
            module, split, batches, generator, training, part=part, normalization=normalize
        )

    def _repaired(self, state: State, space: ChannelSpace, module: nn.Module) -> int:
        """Repair a network with a block in place, and return the nominal MACs."""
        layer = space.producers[0]
        inputs = self.evaluator.inputs(state, space, module, layer)
        return self.repair(module, layer, state.costs.macs, inputs)

    def _counts(self, state: State) -> dict[str, int]:
        """The number of codes of each convolution visited so far."""
        names = (space.name for space in self.visited)
        return dict(zip(names, state.decided(), strict=False))

    def _trained_macs(self, state: State, space: ChannelSpace, macs: int) -> int:
        """MACs of the trained layers for one image; ``macs``: those of the whole network."""
        names = self.evaluator.trained_layers(state, space)
        if names is None:
            return macs
        counts = self.costs.geometry.counts(self._counts(state))
        before = sum(
            layer.macs(counts)
            for _, layer in self.costs.geometry.numbered(counts)
            if layer.name not in names and layer.name.rpartition(".")[0] not in names
        )
        return macs - before

    def accept(self, state: State, network: FinishedNetwork) -> list[Build]:
        """See :meth:`Mode.accept`."""
        missing = [space.name for space in self.visited if space.name not in network.blocks]
        if missing:
            raise ValueError(f"the network has no block for {', '.join(missing)}")
        return super().accept(state, network)

    def fits(self, state: State) -> bool:
        """See :meth:`Mode.fits`."""
        codes = {space.name for space in self.visited}
        return set(state.counts()) - codes == set(self.baseline.geometry.counts())

    def describe(self, record: StepRecord) -> Info:
        """See :meth:`Mode.describe`; with the result for the convolution."""
        assert record.block is not None
        return super().describe(record) | {
            "sparsity": record.block.sparsity,
            "codes": record.block.codes,
            "merged": record.block.merged,
            ERROR: record.block.reconstruction_error,
            "autoencoder_updates": record.block.updates,
        }
