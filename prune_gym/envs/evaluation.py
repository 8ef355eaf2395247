"""Evaluators: how an environment obtains the accuracy of a step's network.

:class:`DirectEvaluator` runs the whole network and is the reference. :class:`CachedEvaluator`
computes only once what all candidates of a state share. The surrogate's evaluator
(:mod:`prune_gym.surrogate.predicted`) predicts the accuracy and runs no network.

Each fast path can be switched off, and tests compare each with the reference. ``prefix`` and
``memo`` change no bit; ``fold`` and ``moments`` change rounding (logits by about 1e-5);
``early_exit`` measures the accuracy of a hopeless network, and of no other, on fewer images.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.envs.baseline import Baseline, channel_sums, watched_layer
from prune_gym.envs.config import EnvConfig
from prune_gym.envs.shared_work import SharedWork
from prune_gym.envs.state import Build, State
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.cut import kept_slots
from prune_gym.pruning.graph import Program, ProgramError
from prune_gym.pruning.rows import layer_inputs
from prune_gym.pruning.rules import RULES
from prune_gym.training import Part
from prune_gym.weights import shared_names

KEPT_STATES = 2
"""Number of states whose shared work is kept: the present state and the previous one."""


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Args:
        accuracy: Accuracy on the validation subset, 0 to 1.
        activation: Mean activation of the next space's channels; empty after the last space.
        images: Number of evaluated images.
    """

    accuracy: float
    activation: npt.NDArray[np.float32]
    images: int


class Evaluator(Protocol):
    """Measures or predicts the accuracy of a step's network."""

    @property
    def images(self) -> int:
        """Number of images in an evaluation, for the nominal MACs."""

    def evaluate(self, state: State, build: Build, upcoming: ChannelSpace | None) -> Evaluation:
        """The accuracy after a step.

        Args:
            state: State before the step.
            build: Network after the step.
            upcoming: Space whose activations the next observation shows; None after the last
                space.
        """


class DirectEvaluator:
    """Runs the whole network for each evaluation: the reference for the fast paths.

    It also serves the repair and the training of a step. In all methods, ``state`` is the state
    before the step, and ``space`` is the visited space with its channels before the step.

    Args:
        baseline: The unpruned network.
    """

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline

    @property
    def images(self) -> int:
        """See :attr:`Evaluator.images`."""
        return len(self.baseline.eval_labels)

    def evaluate(self, state: State, build: Build, upcoming: ChannelSpace | None) -> Evaluation:
        """See :meth:`Evaluator.evaluate`."""
        shown = [] if upcoming is None else [upcoming]
        accuracy, activations = self.baseline.evaluate(build.module, shown)
        activation = next(iter(activations.values()), np.zeros(0, np.float32))
        return Evaluation(accuracy, activation, self.images)

    def refit(
        self,
        state: State,
        space: ChannelSpace,
        mask: npt.NDArray[np.bool_],
        module: nn.Module,
        layer: str,
        left: Tensor | None,
    ) -> int:
        """Refit consumer ``layer`` of a cut space by least squares in place; return the MACs.

        ``mask`` marks the kept channels of the space, shape (channels,). ``left`` holds the
        indices of the consumer's remaining outputs in the unpruned network; None if all remain.
        """
        return self.baseline.least_squares.refit(module, layer, left)

    def inputs(
        self, state: State, space: ChannelSpace, module: nn.Module, layer: str
    ) -> Iterator[Tensor]:
        """The inputs of a layer for the repair images, in batches."""
        return layer_inputs(module, module.get_submodule(layer), self.baseline.repair_images)

    def trained_part(self, state: State, space: ChannelSpace, module: nn.Module) -> Part | None:
        """The part of the network to train; None: the whole network."""
        return None

    def trained_layers(self, state: State, space: ChannelSpace) -> set[str] | None:
        """The names of the layers to train; None: all layers."""
        return None


class CachedEvaluator(DirectEvaluator):
    """Computes only once what all candidates of a state share (:class:`SharedWork`)."""

    def __init__(self, config: EnvConfig, baseline: Baseline, program: Program) -> None:
        super().__init__(baseline)
        self.program = program
        self.fast, self.suffix = config.fast_paths, config.tune == "suffix"
        # Below this accuracy the accuracy term of the reward is -1.
        self.hopeless = baseline.accuracy - 2 * config.tolerance
        self._shared: OrderedDict[tuple[object, str], SharedWork] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        # A copy starts with empty caches and traces its own network.
        return {**vars(self), "_shared": OrderedDict(), "program": None}

    def __setstate__(self, values: dict[str, Any]) -> None:
        vars(self).update(values)
        self.program = self.baseline.program

    def shared(self, state: State, space: ChannelSpace) -> SharedWork:
        """The shared work of a state, from the cache if possible."""
        key = state.token, space.name
        work = self._shared.get(key)
        if work is None:
            parent = None if state.prefix is None else self._shared.get(state.prefix)
            work = SharedWork(self.baseline, self.program, self.fast, state.module, space, parent)
            self._shared[key] = work
        self._shared.move_to_end(key)
        while len(self._shared) > KEPT_STATES:
            _, dropped = self._shared.popitem(last=False)
            for other in self._shared.values():
                other.forget(dropped)
        return work

    def refit(
        self,
        state: State,
        space: ChannelSpace,
        mask: npt.NDArray[np.bool_],
        module: nn.Module,
        layer: str,
        left: Tensor | None,
    ) -> int:
        """See :meth:`DirectEvaluator.refit`."""
        work, least_squares = self.shared(state, space), self.baseline.least_squares
        refitted = module.get_submodule(layer)
        # The inputs of a later consumer depend on the refit of earlier consumers.
        if "moments" in self.fast and self.program.independent(space):
            moments = work.moments(layer)
            if moments is not None:
                before = work.module.get_submodule(layer)
                size = RULES[type(before)].slots(before, "in")
                keep = kept_slots(state.spaces, {space.name: mask}, layer, "in", size)
                return least_squares.solve(layer, refitted, moments.of_inputs(keep), left)
        return least_squares.fit(layer, refitted, work.inputs(work.bind(module), layer), left)

    def inputs(
        self, state: State, space: ChannelSpace, module: nn.Module, layer: str
    ) -> Iterator[Tensor]:
        """See :meth:`DirectEvaluator.inputs`."""
        work = self.shared(state, space)
        return work.inputs(work.bind(module), layer)

    def trained_part(self, state: State, space: ChannelSpace, module: nn.Module) -> Part | None:
        """See :meth:`DirectEvaluator.trained_part`."""
        return self.shared(state, space).suffix(module) if self.suffix else None

    def trained_layers(self, state: State, space: ChannelSpace) -> set[str] | None:
        """See :meth:`DirectEvaluator.trained_layers`."""
        if not self.suffix:
            return None
        return self.program.called_from(self.shared(state, space).start)

    @torch.no_grad()
    def evaluate(self, state: State, build: Build, upcoming: ChannelSpace | None) -> Evaluation:
        """See :meth:`Evaluator.evaluate`."""
        work = self.shared(state, build.space)
        bound = work.bind(build.module)
        start, batches = work.prepared("eval") if build.keeps_prefix else (1, work.batches("eval"))
        sums: list[Tensor] = []
        watch = {}
        if upcoming is not None and self.program.watch_point(upcoming) >= start:
            point = self.program.watch_point(upcoming)
            layer, shown = self.baseline.module.get_submodule(watched_layer(upcoming)), upcoming
            watch = {point: lambda output: sums.append(channel_sums(shown, layer, output))}
        correct = seen = 0
        for values in batches:
            logits = bound.logits(values, start, watch)
            labels = self.baseline.eval_labels[seen : seen + len(logits)]
            correct += int((logits.argmax(1) == labels).sum())
            seen += len(logits)
            if "early_exit" in self.fast and _hopeless(correct, seen, self.hopeless):
                break
        if upcoming is None:
            activation = np.zeros(0, np.float32)
        elif watch:
            activation = (torch.stack(sums).sum(0) / seen).cpu().numpy().astype(np.float32)
        else:
            activation = work.activation(upcoming)
        return Evaluation(correct / seen, activation, seen)


def make_evaluator(config: EnvConfig, baseline: Baseline) -> DirectEvaluator:
    """The evaluator of an environment that runs networks.

    Raises:
        ProgramError: If ``tune="suffix"`` and the network cannot be traced.
    """
    if not config.fast_paths - {"memo"} and config.tune == "all":
        return DirectEvaluator(baseline)
    try:
        program = baseline.program
    except ProgramError as error:
        if config.tune == "suffix":
            raise
        # The error may contain a %.
        gym.logger.warn("steps are slow because the fast paths are off: %s", error)
        return DirectEvaluator(baseline)
    if config.tune == "suffix" and not program.same_in_training:
        raise ProgramError("tune='suffix': the network calls different layers in training")
    if config.tune == "suffix" and (shared := shared_names(baseline.module)):
        name, first = next(iter(shared.items()))
        raise ProgramError(
            f"tune='suffix': {name!r} and {first!r} are one parameter, so that training the layers "
            "after a cut may change those before it; use tune='all'"
        )
    return CachedEvaluator(config, baseline, program)


def _hopeless(correct: int, seen: int, limit: float) -> bool:
    """Whether three standard errors above the accuracy seen so far are below the limit."""
    return correct / seen + 3 * math.sqrt(0.25 / seen) < limit
