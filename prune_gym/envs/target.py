"""What a user wants of the final network, and how an episode is held to it."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from prune_gym.costs import OBJECTIVES, CostModel, Costs
from prune_gym.envs.feasibility import Completions, Counts
from prune_gym.errors import TargetError, UnknownNameError
from prune_gym.pruning import ChannelSpace, legal_mask

ACCURACY = "accuracy"
NAMES = (*OBJECTIVES, ACCURACY)


def checked_target(target: Mapping[str, float] | None) -> dict[str, float]:
    """A target as numbers by name.

    Args:
        target: For each of :data:`prune_gym.costs.OBJECTIVES` the most of it, as a share of the
            unpruned network's, within (0, 1]; for ``accuracy`` the largest drop in validation
            accuracy, 0 to 1. None: nothing is wanted.

    Raises:
        UnknownNameError: No such cost.
        ValueError: No table of names and numbers, or a number out of range.
    """
    if target is None:
        return {}
    if not isinstance(target, Mapping):
        raise ValueError(f"target={target!r} must name costs and numbers, such as {{'macs': 0.26}}")
    for name, value in target.items():
        if name not in NAMES:
            raise UnknownNameError("target", name, NAMES)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"target: {name}={value!r} must be a number")
        if name == ACCURACY and not 0 <= value <= 1:
            raise ValueError(f"target: accuracy={value} is a drop in accuracy, needed: 0 to 1")
        if name != ACCURACY and not 0 < value <= 1:
            raise ValueError(
                f"target: {name}={value} is not within (0, 1], a share of the unpruned network's"
            )
    return {name: float(value) for name, value in target.items()}


class Target:
    """Holds an episode to a target, as AMC does (He et al. 2018, algorithm 1).

    An action after which no completion (:class:`prune_gym.envs.feasibility.Completions`) could
    meet the wanted costs any more is clipped. Accuracy nothing can promise: it counts in
    :meth:`met` alone.

    Args:
        wanted: As for :func:`checked_target`.
        costs: Of the environment.
        visited: The spaces that an episode walks through, unpruned.
        baseline_accuracy: Of the unpruned network, 0 to 1.
        min_keep: Least number of filters kept.
        round_to: Kept filters are rounded up to a multiple of this.

    Raises:
        TargetError: No network within reach meets it; the message names the best one.
        ValueError: The target is not valid.
    """

    def __init__(
        self,
        wanted: Mapping[str, float] | None,
        costs: CostModel,
        visited: Sequence[ChannelSpace],
        baseline_accuracy: float,
        min_keep: int = 1,
        round_to: int = 1,
    ) -> None:
        self.wanted = checked_target(wanted)
        self.baseline_accuracy = baseline_accuracy
        self._full = costs.of()
        self._completions: Completions | None = None
        shares = {name: value for name, value in self.wanted.items() if name != ACCURACY}
        if shares:
            self._completions = Completions(shares, costs, visited, min_keep, round_to)
            if self._completions.plan(()) is None:
                raise TargetError(_refusal(self._completions))

    @property
    def bounds_costs(self) -> bool:
        """Whether it wants more than accuracy, so that actions may be clipped."""
        return self._completions is not None

    def reached(self, costs: Costs, accuracy: float) -> dict[str, float]:
        """What a network makes of each wanted figure.

        Args:
            costs: Of the network.
            accuracy: Its validation accuracy, 0 to 1.

        Returns:
            Costs as shares of the unpruned network's, and the drop in accuracy.
        """
        # A drop from 0.92 to 0.9 is one of 0.02, whatever floats make of it.
        drop = round(self.baseline_accuracy - accuracy, 12)
        return {
            name: drop if name == ACCURACY else costs.of(name) / self._full.of(name)
            for name in self.wanted
        }

    def met(self, costs: Costs, accuracy: float) -> bool:
        """Whether a network meets all of the target; True where nothing is wanted."""
        reached = self.reached(costs, accuracy)
        return all(reached[name] <= value for name, value in self.wanted.items())

    def allowed(self, before: Counts, asked: int) -> int:
        """The number of filters to keep in the next space.

        Args:
            before: Counts of the spaces that were visited, from the first.
            asked: A number that the rules allow.

        Returns:
            The largest up to ``asked`` that leaves the target within reach; where there is none,
            the smallest above it.

        Raises:
            TargetError: There is none at all: the counts are not of an episode with this target.
        """
        if self._completions is None:
            return asked
        legal = self._completions.legal[len(before)]
        down = [count for count in reversed(legal) if count <= asked]
        for count in (*down, *(count for count in legal if count > asked)):
            if self._completions.plan((*before, count)) is not None:
                return count
        raise TargetError(
            f"From this state the target {_listed(self.wanted)} is out of reach: it was saved by "
            "an environment with another target. Call reset()."
        )

    def clip(
        self,
        mask: npt.NDArray[np.bool_],
        legal: npt.NDArray[np.bool_],
        before: Counts,
        l1: npt.NDArray[np.floating],
        norms: npt.NDArray[np.floating],
    ) -> npt.NDArray[np.bool_]:
        """The nearest mask with which the target can still be met.

        Args:
            mask: As asked for. Shape (channels,).
            legal: What :func:`prune_gym.pruning.legal_mask` made of it.
            before: As for :meth:`allowed`.
            l1: L1 norms: of the filters asked for, those of least norm are dropped (AMC).
            norms: L2 norms: filters are added by them, as ``legal_mask`` does.

        Returns:
            The mask to execute, shape (channels,).
        """
        asked = int(legal.sum())
        count = self.allowed(before, asked)
        if count == asked:
            return legal
        if count > asked:
            return legal_mask(legal, norms, min_keep=count)
        # Rounding adds fewer than one step of legal counts, so `mask` itself keeps enough.
        order = np.lexsort((np.arange(mask.size), -np.asarray(l1), ~mask))
        kept = np.zeros_like(legal)
        kept[order[:count]] = True
        return kept

    def uniform_ratio(self) -> float | None:
        """The largest keep ratio, the same in every visited space, that meets the target.

        A space of n filters keeps ``max(1, round(ratio * n))``, then ``min_keep`` and ``round_to``
        hold. An episode that does so is never clipped. Where no ratio meets the target (several
        costs at once may need uneven counts), the one that comes nearest; where no cost is wanted,
        None.
        """
        return None if self._completions is None else self._completions.uniform_ratio

    def ratio_for_rest(self, before: Counts) -> float | None:
        """As :meth:`uniform_ratio`, of the spaces that are still to come.

        Args:
            before: As for :meth:`allowed`.

        Returns:
            Within (0, 1); None where no cost is wanted, or no space is to come.
        """
        if self._completions is None or len(before) == len(self._completions.legal):
            return None
        return self._completions.ratio_for_rest(before)

    def legal(self) -> list[list[int]]:
        """The numbers of filters that the rules allow each visited space; none without costs."""
        return [] if self._completions is None else self._completions.legal

    def excess(self, counts: Counts) -> dict[str, float]:
        """Costs of a whole episode's counts as shares of the wanted ones; above 1 is too much."""
        if self._completions is None:
            return {}
        figures = self._completions.figures(counts)
        return {name: figures[name] / share for name, share in self._completions.shares.items()}

    def report(self, costs: Costs, accuracy: float) -> dict[str, Any]:
        """For records: what is ``wanted``, what was ``reached``, and whether it is ``met``."""
        reached, met = self.reached(costs, accuracy), self.met(costs, accuracy)
        return {"wanted": dict(self.wanted), "reached": reached, "met": met}


def report_lines(facts: Mapping[str, Any]) -> list[str]:
    """A :meth:`Target.report` for people, one line a figure; none where nothing is wanted."""
    result = []
    for name, wanted in facts["wanted"].items():
        reached = facts["reached"][name]
        label = "accuracy drop" if name == ACCURACY else name
        verdict = "met" if reached <= wanted else "NOT met"
        result.append(f"{'target ' + label:<22}{f'<= {wanted:g}':>12}{reached:>12.4f}  {verdict}")
    return result


def _refusal(completions: Completions) -> str:
    """What is wanted, what is within reach, and what would help."""
    shares = completions.shares
    best = {
        name: min(completions.figures(counts)[name] for counts in completions.lean)
        for name in shares
    }
    missed = {name: best[name] for name, share in shares.items() if best[name] > share}
    if missed:
        least = f"the least within reach is {_listed(missed, up=True)}"
    else:
        nearest = completions.figures(min(completions.lean, key=completions.excess))
        least = f"each alone can, but the nearest to all at once is {_listed(nearest, up=True)}"
    return (
        f"The target {_listed(shares)} cannot be reached: {least} (of the unpruned network's). "
        "Give a larger one, visit more spaces (scope='all'), or lower min_keep or round_to."
    )


def _listed(figures: Mapping[str, float], up: bool = False) -> str:
    """``macs=0.26, latency=0.6``; rounded up, so that what is printed can be asked for."""
    if up:
        figures = {name: math.ceil(value * 1e4) / 1e4 for name, value in figures.items()}
    return ", ".join(f"{name}={value:g}" for name, value in figures.items())
