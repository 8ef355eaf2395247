"""The filter mode: an action keeps some filters of a channel space and removes the others."""

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import nn

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.config import EnvConfig
from prune_gym.envs.evaluation import DirectEvaluator
from prune_gym.envs.mode import Action, Choice, Mode, check_entries, unit_box, unit_value
from prune_gym.envs.numbers import as_numbers
from prune_gym.envs.observation import Observer, filter_rows
from prune_gym.envs.state import Build, KeptChannels, State, masks_of
from prune_gym.pruning import ChannelSpace, cut_spaces, dense
from prune_gym.pruning.cut import kept_slots
from prune_gym.pruning.finished import FinishedNetwork
from prune_gym.pruning.repair import reestimate_batch_norm
from prune_gym.training import train

Norms = npt.NDArray[np.floating]


@dataclass(frozen=True)
class FilterChoice(Choice):
    """The filters to keep.

    Args:
        batches: Mini-batches of fine-tuning.
        changed: Whether the rules changed the mask.
        mask: Executed mask, shape (channels,).
    """

    mask: npt.NDArray[np.bool_]

    @property
    def key(self) -> Hashable:
        """See :attr:`Choice.key`."""
        return self.mask.tobytes(), self.batches


def visited_spaces(config: EnvConfig, every: tuple[ChannelSpace, ...]) -> tuple[ChannelSpace, ...]:
    """The spaces that an episode visits, in their order; none if the scope leaves none."""
    visited = tuple(space for space in every if config.scope == "all" or not space.tied)
    return visited[::-1] if config.order == "backward" else visited


class FilterRules(Mode[FilterChoice]):
    """Parses the actions of the filter mode, whether or not there is a network to cut.

    Raises:
        TargetError: If no reachable network meets the target.
        ValueError: If the scope leaves no space.
    """

    def __init__(
        self, config: EnvConfig, baseline: Baseline, observer_class: type[Observer]
    ) -> None:
        visited = visited_spaces(config, baseline.network.spaces)
        if not visited:
            raise ValueError("all channel spaces are tied; use scope='all'")
        observer = observer_class(baseline, visited, config.observation)
        super().__init__(config, baseline, visited, baseline.costs, observer)
        self.action_space = spaces.Dict(
            {"duration": unit_box(), "mask": spaces.MultiBinary(observer.width)}
        )

    def parse(self, state: State, action: Action) -> FilterChoice:
        """See :meth:`Mode.parse`; padded bits are ignored."""
        check_entries(action, "mask", "duration")
        bits = as_numbers("mask", action["mask"])
        if bits.shape != (self.observer.width,):
            raise ValueError(
                f"action: the mask has shape {bits.shape} but must have ({self.observer.width},); "
                "pad it for layers with fewer filters"
            )
        if not ((bits == 0) | (bits == 1)).all():
            raise ValueError(
                "action: the mask may contain only 0 and 1; threshold scores before step()"
            )
        duration = unit_value("duration", action["duration"], "of max_epochs")
        requested = bits.astype(bool)[: self.visited[state.position].channels]
        l1, l2 = self.norms(state)
        mask = self.target.hold(requested, state.decided(), l1, l2)
        batches = round(duration * self.max_batches)
        return FilterChoice(batches, bool((mask != requested).any()), mask)

    def norms(self, state: State) -> tuple[Norms, Norms]:
        """L1 and L2 norms of the next space's filters, shape (channels,) each."""
        rows = filter_rows(state.module, state.space(self.visited[state.position].name))
        return rows.abs().sum(dim=1).numpy(), rows.norm(dim=1).numpy()

    def fits(self, state: State) -> bool:
        """See :meth:`Mode.fits`."""
        return set(state.counts()) == set(self.baseline.geometry.counts())


class FilterMode(FilterRules):
    """An action keeps some filters of a channel space and removes the others."""

    def __init__(self, config: EnvConfig, baseline: Baseline, evaluator: DirectEvaluator) -> None:
        super().__init__(config, baseline, Observer)
        self.evaluator = evaluator

    def build(self, state: State, choice: FilterChoice, seed: int) -> Build:
        """See :meth:`Mode.build`."""
        space, mask = state.space(self.visited[state.position].name), choice.mask
        described = cut_spaces(state.spaces, {space.name: mask})
        kept = {**state.kept, space.name: state.kept[space.name][mask]}
        counts = {other.name: other.channels for other in described}
        macs = self.costs.of(counts).macs
        recovery, batches = self.config.recovery, choice.batches

        # Fine-tuning and the re-estimation of batch norm change layers in place.
        share = batches == 0 and recovery != "bn"
        module = dense(state.module, state.spaces, {space.name: mask}, share)
        spent = 0
        # If all filters are kept, the network needs no repair.
        if not mask.all():
            spent = self._repair(state, space, mask, kept, module, macs)
        generator = torch.Generator().manual_seed(seed)
        part = self.evaluator.trained_part(state, space, module)
        train(
            module,
            self.baseline.train_split,
            batches,
            generator,
            self.config.training,
            part=part,
            normalization=self.baseline.network.normalize,
        )
        trained = macs
        names = self.evaluator.trained_layers(state, space)
        if names is not None:
            layers = (layer for layer in self.baseline.geometry.layers if layer.layer in names)
            trained = sum(layer.macs(counts) for layer in layers)
        return Build(
            space=space,
            module=module,
            spaces=described,
            kept=kept,
            counts=counts,
            mask=mask,
            batches=batches,
            macs=spent + tuning_macs(self.config, macs, batches, trained),
            # Re-estimating batch norm also changes layers before the cut.
            keeps_prefix=recovery != "bn" and (batches == 0 or self.config.tune == "suffix"),
        )

    def _repair(
        self,
        state: State,
        space: ChannelSpace,
        mask: npt.NDArray[np.bool_],
        kept: KeptChannels,
        module: nn.Module,
        macs: int,
    ) -> int:
        """Repair a cut network in place, and return the nominal MACs."""
        baseline, images = self.baseline, len(self.baseline.repair_images)
        if self.config.recovery == "none":
            return 0
        if self.config.recovery == "bn":
            reestimate_batch_norm(module, baseline.repair_images)
            return macs * images
        spent = (baseline.costs.of().macs + macs) * images
        masks = masks_of(baseline.network.spaces, kept)
        outputs = {layer.name: layer.out_channels for layer in baseline.geometry.layers}
        for name in space.consumers:
            if name in baseline.least_squares.references:
                keep = kept_slots(baseline.network.spaces, masks, name, "out", outputs[name])
                left = None if keep.all() else torch.from_numpy(np.flatnonzero(keep))
                spent += self.evaluator.refit(state, space, mask, module, name, left)
        return spent

    def accept(self, state: State, network: FinishedNetwork) -> list[Build]:
        """See :meth:`Mode.accept`."""
        builds = super().accept(state, network)
        counts = state.counts() | dict(builds[-1].counts)
        found = {space.name: space.channels for space in network.spaces}
        for name in sorted(found.keys() | counts.keys()):
            if found.get(name) != counts.get(name):
                raise ValueError(
                    f"the network's space {name!r} has {found.get(name)} channels, but its masks "
                    f"keep {counts.get(name)}"
                )
        return builds


def tuning_macs(config: EnvConfig, macs: int, batches: int, trained: int) -> int:
    """Nominal MACs of fine-tuning; caches do not reduce them.

    A step costs ``(macs + 2 * trained) * images`` for fine-tuning (forward and backward),
    ``macs * images`` for the evaluation and, in the filter mode if filters were removed, the
    repair: with ``bn``, ``macs * images``; with ``lsq``, a forward pass of the unpruned and of the
    cut network and the moments of the least-squares systems.

    Args:
        config: Configuration of the environment.
        macs: MACs of the network after the step, for one image.
        batches: Mini-batches of fine-tuning.
        trained: MACs of the fine-tuned layers, for one image.
    """
    return (macs + 2 * trained) * batches * config.batch_size
