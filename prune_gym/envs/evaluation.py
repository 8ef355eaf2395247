"""Fast paths: what all candidates from one state share is computed once.

Each can be switched off, and each is held to the slow path by tests. ``prefix`` and ``memo``
change no bit; ``fold`` and ``moments`` change rounding (logits to about 1e-5); ``early_exit``
reads the accuracy of a hopeless network, and of no other, from fewer images.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.envs.baseline import Baseline, channel_sums
from prune_gym.envs.state import State
from prune_gym.errors import UnknownNameError
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.graph import Bound, Program, Values
from prune_gym.pruning.repair import BATCH, Moments
from prune_gym.training import EVALUATION_BATCH

FAST = ("fold", "prefix", "moments", "early_exit", "memo")
GROUNDS = 2
"""States whose prefixes are kept: the present one and the one before."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Args:
        accuracy: 0 to 1.
        activation: Mean activation of the next space's channels; empty after the last space.
        images: How many images were looked at.
    """

    accuracy: float
    activation: npt.NDArray[np.float32]
    images: int


def checked_fast(fast: bool | Sequence[str]) -> frozenset[str]:
    """The fast paths that an argument names.

    Args:
        fast: True for all, False for none, or names of :data:`FAST`.

    Raises:
        UnknownNameError: No such fast path.
    """
    if isinstance(fast, bool):
        return frozenset(FAST if fast else ())
    names = [fast] if isinstance(fast, str) else list(fast)
    for name in names:
        if name not in FAST:
            raise UnknownNameError("fast path", name, FAST)
    return frozenset(names)


class Ground:
    """What all candidates from one state share: the layers before the cut, and the moments.

    Args:
        baseline: Baseline, data and targets.
        program: The network's calls.
        fast: Names of the fast paths in use.
        state: The state.
        space: The space that is cut next, as it is now.
        parent: The ground of the state before, where all before its cut is the same; or None.
    """

    def __init__(
        self,
        baseline: Baseline,
        program: Program,
        fast: frozenset[str],
        state: State,
        space: ChannelSpace,
        parent: "Ground | None" = None,
    ) -> None:
        self.baseline, self.program, self.fast = baseline, program, fast
        self.module, self.space = state.module, space
        self.start = program.first_call(space)
        self.bound = Bound(program, state.module, "fold" in fast)
        self._parent = parent if parent is not None and parent.start <= self.start else None
        self._values: dict[str, list[Values]] = {}
        self._moments: dict[str, Moments] = {}
        self._activations: dict[str, npt.NDArray[np.float32]] = {}

    def bind(self, module: nn.Module) -> Bound:
        """A candidate's layers, run as this environment runs them."""
        return Bound(self.program, module, "fold" in self.fast)

    @torch.no_grad()
    def values(self, images: str) -> list[Values]:
        """What the layers before the cut leave, batch by batch.

        Args:
            images: ``"eval"`` or ``"repair"``.
        """
        if images not in self._values:
            first, before = 1, self._batches(images)
            if self._parent is not None and images in self._parent._values:
                first, before = self._parent.start, self._parent._values[images]
            self._values[images] = [self.bound.run(part, first, self.start) for part in before]
        return self._values[images]

    def _batches(self, images: str) -> list[Values]:
        if images == "eval":
            return [{0: part} for part in self.baseline.eval_images.split(EVALUATION_BATCH)]
        return [{0: part} for part in self.baseline.repair_images.split(BATCH)]

    def forget_parent(self) -> None:
        """Let the values of the state before go."""
        self._parent = None

    # Repair

    @torch.no_grad()
    def inputs(self, bound: Bound, layer: str) -> Iterator[Tensor]:
        """What a layer reads of the repair images, batch by batch."""
        call = self.program.calls[layer]
        (source,) = self.program.nodes[call].all_input_nodes
        prefix = "prefix" in self.fast
        for values in self.values("repair") if prefix else self._batches("repair"):
            live = bound.run(values, self.start if prefix else 1, call)
            yield live[self.program.number[source]]

    def moments(self, layer: str) -> Moments:
        """The moments of a consumer's inputs before the cut; those behind it are a part of them."""
        if layer not in self._moments:
            inputs = self.inputs(self.bound, layer)
            self._moments[layer] = self.baseline.least_squares.moments(self.module, layer, inputs)
        return self._moments[layer]

    # Evaluation

    @torch.no_grad()
    def evaluate(
        self, module: nn.Module, upcoming: ChannelSpace | None, changed: bool, hopeless: float
    ) -> Evaluation:
        """Accuracy of a candidate on the validation subset.

        Args:
            module: The candidate.
            upcoming: The space whose activations the next observation shows, or None.
            changed: Whether layers before the cut were trained.
            hopeless: Accuracy from which on less makes no difference to the reward.

        Returns:
            The evaluation.
        """
        bound, baseline = self.bind(module), self.baseline
        prefix = "prefix" in self.fast and not changed
        start = self.start if prefix else 1
        sums: list[Tensor] = []
        watch = {}
        if upcoming is not None and self.program.watch_point(upcoming) >= start:
            point = self.program.watch_point(upcoming)
            watch = {point: lambda output: sums.append(channel_sums(output))}
        correct = seen = 0
        for values in self.values("eval") if prefix else self._batches("eval"):
            logits = bound.logits(values, start, watch)
            labels = baseline.eval_labels[seen : seen + len(logits)]
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(logits)
            if "early_exit" in self.fast and _hopeless(correct, seen, hopeless):
                break
        if upcoming is None:
            activation = np.zeros(0, np.float32)
        elif watch:
            activation = (torch.stack(sums).sum(0) / seen).cpu().numpy().astype(np.float32)
        else:
            activation = self._activation(upcoming)
        return Evaluation(correct / seen, activation, seen)

    def _activation(self, space: ChannelSpace) -> npt.NDArray[np.float32]:
        """Mean activation of a space that lies before the cut: the same for all candidates."""
        if space.name not in self._activations:
            sums: list[Tensor] = []
            point = self.program.watch_point(space)
            for values in self._batches("eval"):
                watch = {point: lambda output: sums.append(channel_sums(output))}
                self.bound.run(values, 1, point + 1, watch)
            mean = torch.stack(sums).sum(0) / len(self.baseline.eval_labels)
            self._activations[space.name] = mean.cpu().numpy().astype(np.float32)
        return self._activations[space.name]


def _hopeless(correct: int, seen: int, limit: float) -> bool:
    """Whether three standard errors above what was seen still lie below the limit."""
    return correct / seen + 3 * math.sqrt(0.25 / seen) < limit


class Grounds:
    """The grounds of the latest states.

    Args:
        baseline: Baseline, data and targets.
        program: The network's calls.
        fast: Names of the fast paths in use.
    """

    def __init__(self, baseline: Baseline, program: Program, fast: frozenset[str]) -> None:
        self.baseline, self.program, self.fast = baseline, program, fast
        self._kept: OrderedDict[int, Ground] = OrderedDict()
        self._origins: WeakKeyDictionary[nn.Module, nn.Module] = WeakKeyDictionary()

    def of(self, state: State, space: ChannelSpace) -> Ground:
        """The ground of a state, made where it is not kept."""
        key = id(state.module)
        ground = self._kept.get(key)
        # The ground holds its module, so while it is kept no other module has this id.
        if ground is None or ground.space.name != space.name:
            origin = self._origins.get(state.module)
            parent = None if origin is None else self._kept.get(id(origin))
            ground = Ground(self.baseline, self.program, self.fast, state, space, parent)
            self._kept[key] = ground
        self._kept.move_to_end(key)
        while len(self._kept) > GROUNDS:
            _, dropped = self._kept.popitem(last=False)
            for other in self._kept.values():
                if other._parent is dropped:
                    other.forget_parent()
        return ground

    def derived(self, module: nn.Module, origin: nn.Module) -> None:
        """Note that a candidate's layers before its cut are those of another network."""
        self._origins[module] = origin
