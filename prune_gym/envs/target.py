"""The requirements for the final network, and how actions are clipped to meet them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from prune_gym.costs import CostModel, Costs
from prune_gym.envs.config import ACCURACY, EnvConfig
from prune_gym.envs.feasibility import Completions, VisitCounts
from prune_gym.errors import TargetError
from prune_gym.pruning import ChannelSpace, legal_mask


class Target:
    """Clips the actions of an episode so that its network meets the target.

    This is AMC's rule (He et al. 2018, algorithm 1): an action is clipped if no completion
    (:class:`prune_gym.envs.feasibility.Completions`) could meet the wanted costs after it.
    Accuracy cannot be guaranteed, so it does not affect the clipping.

    In all methods, ``before`` holds the counts of the spaces visited so far, from the first.

    Args:
        config: Configuration of the environment.
        costs: Cost model that takes counts of the visited spaces.
        visited: Unpruned spaces that an episode visits.
        baseline_accuracy: Accuracy of the unpruned network, 0 to 1.

    Raises:
        TargetError: If no reachable network meets the target; the message names the best one.
    """

    def __init__(
        self,
        config: EnvConfig,
        costs: CostModel,
        visited: Sequence[ChannelSpace],
        baseline_accuracy: float,
    ) -> None:
        self.wanted = config.wanted
        self.baseline_accuracy = baseline_accuracy
        self._min_keep, self._round_to = config.min_keep, config.round_to
        self._full = costs.of()
        self._completions: Completions | None = None
        if config.wanted_costs:
            rules = config.min_keep, config.round_to
            self._completions = Completions(config.wanted_costs, costs, visited, *rules)
            if self._completions.completion(()) is None:
                raise TargetError(_refusal(self._completions, config.scope == "all"))

    def reached(self, costs: Costs, accuracy: float) -> dict[str, float]:
        """What a network reaches of each wanted figure: shares of cost, and drop in accuracy."""
        # Rounded, so that a drop from 0.92 to 0.9 meets a limit of 0.02.
        drop = round(self.baseline_accuracy - accuracy, 12)
        return {
            name: drop if name == ACCURACY else costs.of(name) / self._full.of(name)
            for name in self.wanted
        }

    def met(self, costs: Costs, accuracy: float) -> bool:
        """Whether a network meets the whole target; True without a target."""
        reached = self.reached(costs, accuracy)
        return all(reached[name] <= value for name, value in self.wanted.items())

    def allowed(self, before: VisitCounts, requested: int) -> int:
        """The number of filters to keep in the next space, if an action keeps ``requested``.

        It is the largest number up to ``requested`` with which the target can still be met, or
        else the smallest such number above ``requested``.

        Raises:
            TargetError: If there is no such number, since the counts come from an episode with
                another target.
        """
        if self._completions is None:
            return requested
        legal = self._completions.legal[len(before)]
        down = [count for count in reversed(legal) if count <= requested]
        for count in (*down, *(count for count in legal if count > requested)):
            if self._completions.completion((*before, count)) is not None:
                return count
        raise TargetError(
            f"The target {_listed(self.wanted)} is out of reach from this state, which comes from "
            "an environment with another target. Call reset()."
        )

    def hold(
        self,
        requested: npt.NDArray[np.bool_],
        before: VisitCounts,
        l1: npt.NDArray[np.floating],
        l2: npt.NDArray[np.floating],
    ) -> npt.NDArray[np.bool_]:
        """The nearest mask that the rules allow and with which the target can still be met.

        Args:
            requested: Mask of the action, shape (channels,).
            before: Counts of the spaces visited so far.
            l1: L1 norms of the filters; those with the smallest norms are dropped first (AMC).
            l2: L2 norms of the filters; those with the largest norms are added first.

        Returns:
            The mask to execute, shape (channels,).
        """
        legal = legal_mask(requested, l2, self._min_keep, self._round_to)
        if self._completions is None:
            return legal
        wanted = int(legal.sum())
        count = self.allowed(before, wanted)
        if count == wanted:
            return legal
        if count > wanted:
            return legal_mask(legal, l2, min_keep=count)
        # Rounding adds less than one step between legal counts, so `requested` has enough.
        order = np.lexsort((np.arange(requested.size), -np.asarray(l1), ~requested))
        kept = np.zeros_like(legal)
        kept[order[:count]] = True
        return kept

    def uniform_ratio(self) -> float | None:
        """The largest keep ratio that, used in all visited spaces, meets the target.

        A space of n filters keeps ``max(1, round(ratio * n))``; then ``min_keep`` and ``round_to``
        apply. An episode with this ratio is never clipped.

        Returns:
            The ratio; None if the target limits no cost. If no ratio meets the target (several
            costs at once may need uneven counts), the ratio that comes nearest.
        """
        return None if self._completions is None else self._completions.uniform_ratio

    def ratio_for_rest(self, before: VisitCounts) -> float | None:
        """The same as :meth:`uniform_ratio` for the remaining spaces; None if none remains."""
        if self._completions is None or len(before) == len(self._completions.legal):
            return None
        return self._completions.ratio_for_rest(before)

    def legal(self) -> list[list[int]]:
        """The counts that the rules allow in each visited space; empty if no cost is limited."""
        return [] if self._completions is None else self._completions.legal

    def excess(self, counts: VisitCounts) -> dict[str, float]:
        """Costs of a network relative to their limits; the target allows at most 1."""
        if self._completions is None:
            return {}
        figures = self._completions.figures(counts)
        return {name: figures[name] / share for name, share in self._completions.shares.items()}


def _refusal(completions: Completions, every: bool) -> str:
    """The message for a target that is out of reach: the limits, the best network, the remedies.

    ``every``: whether all spaces are visited.
    """
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
        least = (
            f"each limit can be met alone, but the nearest network has {_listed(nearest, up=True)}"
        )
    more = ", visit more spaces (scope='all')"
    return (
        f"The target {_listed(shares)} cannot be reached: {least} (share of the unpruned network's "
        f"cost). Raise the limit{'' if every else more}, or lower min_keep or round_to."
    )


def _listed(figures: Mapping[str, float], up: bool = False) -> str:
    """``macs=0.26, latency=0.6``; ``up`` rounds up, so that the printed value can be reached."""
    if up:
        figures = {name: math.ceil(value * 1e4) / 1e4 for name, value in figures.items()}
    return ", ".join(f"{name}={value:g}" for name, value in figures.items())
