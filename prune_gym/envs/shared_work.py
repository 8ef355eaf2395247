"""What the evaluation of all candidates of one state has in common."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.batches import Lazy, split_images
from prune_gym.envs.baseline import Baseline, channel_sums, watched_layer
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.graph import Bound, Program, Values
from prune_gym.pruning.ridge import LARGEST, Moments
from prune_gym.pruning.rows import BATCH
from prune_gym.training import EVALUATION_BATCH, Part

MOST_VALUES = 2**29
"""Largest size in bytes of the values that a state keeps for candidates, for each set of images."""


class SharedWork:
    """What all candidates of a state share: values before the cut, moments and activations.

    Args:
        baseline: The unpruned network.
        program: Unpruned network as a list of calls.
        fast: Names of the fast paths in use.
        module: Network of the state.
        space: Space to cut next, with its present channels.
        parent: Shared work of the previous state if its step did not change the layers before the
            cut; None otherwise.
    """

    def __init__(
        self,
        baseline: Baseline,
        program: Program,
        fast: frozenset[str],
        module: nn.Module,
        space: ChannelSpace,
        parent: "SharedWork | None" = None,
    ) -> None:
        self.baseline, self.program, self.fast = baseline, program, fast
        self.module = module
        self.start = program.first_call(space)
        self.bound = Bound(program, module, "fold" in fast)
        self._parent = parent if parent is not None and parent.start <= self.start else None
        self._prepared: dict[str, tuple[int, Sequence[Values]]] = {}
        self._moments: dict[str, Moments | None] = {}
        self._activations: dict[str, npt.NDArray[np.float32]] = {}

    def bind(self, module: nn.Module) -> Bound:
        """The program with the layers of a candidate."""
        return Bound(self.program, module, "fold" in self.fast)

    def batches(self, images: str) -> Sequence[Values]:
        """The images, ``"eval"`` or ``"repair"``, in batches."""
        if images == "eval":
            parts = split_images(self.baseline.eval_images, EVALUATION_BATCH)
        else:
            parts = split_images(self.baseline.repair_images, BATCH)
        return Lazy(len(parts), lambda number: {0: parts[number]})

    def prepared(self, images: str) -> tuple[int, Sequence[Values]]:
        """The first call that candidates run, and the values that it and later calls read.

        With the fast path ``prefix``, it is the first call that the cut changes, unless the values
        need more memory than ``MOST_VALUES``. The values are in batches.
        """
        if "prefix" not in self.fast:
            return 1, self.batches(images)
        if images not in self._prepared:
            self._prepared[images] = self._before_cut(images)
        return self._prepared[images]

    @torch.no_grad()
    def _before_cut(self, images: str) -> tuple[int, Sequence[Values]]:
        first, before = 1, self.batches(images)
        if self._parent is not None and images in self._parent._prepared:
            first, before = self._parent._prepared[images]
        values: list[Values] = []
        for part in before:
            values.append(self.bound.run(part, first, self.start))
            if _bytes(values[0]) * len(before) > MOST_VALUES:
                return 1, self.batches(images)
        return self.start, values

    def forget(self, parent: "SharedWork") -> None:
        """Release the shared work of the previous state."""
        if self._parent is parent:
            self._parent = None

    @torch.no_grad()
    def inputs(self, bound: Bound, layer: str) -> Iterator[Tensor]:
        """The inputs of a layer for the repair images, in batches."""
        call = self.program.calls[layer]
        (source,) = self.program.nodes[call].all_input_nodes
        start, batches = self.prepared("repair")
        for values in batches:
            live = bound.run(values, start, call)
            yield live[self.program.number[source]]

    def moments(self, layer: str) -> Moments | None:
        """The moments of a consumer's inputs before the cut; each candidate selects its part.

        None if the layer offers no moments, or the state already keeps ``LARGEST`` products of
        inputs: each candidate then computes its own refit.
        """
        if layer not in self._moments:
            least_squares, module = self.baseline.least_squares, self.module.get_submodule(layer)
            self._moments[layer] = None
            if least_squares.has_moments(layer, module):
                kept = sum(each.gram.numel() for each in self._moments.values() if each)
                found = least_squares.moments(layer, module, self.inputs(self.bound, layer))
                if kept + found.gram.numel() <= LARGEST:
                    self._moments[layer] = found
        return self._moments[layer]

    def activation(self, space: ChannelSpace) -> npt.NDArray[np.float32]:
        """Mean activation of a space before the cut, the same for all candidates."""
        if space.name not in self._activations:
            sums: list[Tensor] = []
            point = self.program.watch_point(space)
            layer = self.module.get_submodule(watched_layer(space))
            for values in self.batches("eval"):
                watch = {point: lambda output: sums.append(channel_sums(space, layer, output))}
                self.bound.run(values, 1, point + 1, watch)
            mean = torch.stack(sums).sum(0) / len(self.baseline.eval_labels)
            self._activations[space.name] = mean.cpu().numpy().astype(np.float32)
        return self._activations[space.name]

    def suffix(self, module: nn.Module) -> Part:
        """The layers from the cut to the output, for training.

        The layers before the cut run with folded batch norm and without gradients.
        """
        bound = Bound(self.program, module, fold=False)

        def forward(images: Tensor) -> Tensor:
            with torch.no_grad():
                values = self.bound.run({0: images}, 1, self.start)
            logits: Tensor = bound.logits(values, self.start)
            return logits

        names = sorted(self.program.called_from(self.start))
        return Part(forward, [p for name in names for p in bound.modules[name].parameters()])


def _bytes(values: Values) -> int:
    return sum(each.nbytes for each in values.values() if isinstance(each, Tensor))
