"""What the layers to come can still save: a network within reach that meets a target."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from prune_gym.costs import CostModel, remember
from prune_gym.pruning import ChannelSpace

BY_COUNTING = ("macs", "params")
RESERVE = 0.5
"""Share of the uniform keep ratio that a completion leaves every layer to come."""
Counts = tuple[int, ...]
"""Channels of the visited spaces, in the order of the visits."""


def legal_counts(channels: int, min_keep: int, round_to: int) -> list[int]:
    """The numbers of kept filters that :func:`prune_gym.pruning.legal_mask` can leave, rising."""
    rounded = (-(-max(count, min_keep) // round_to) * round_to for count in range(1, channels + 1))
    return sorted({min(count, channels) for count in rounded})


class Completions:
    """Looks for counts of the spaces to come with which the final network meets a target.

    A completion is a network that the rules allow, so what it leaves open is within reach for
    certain. It leaves every layer to come :data:`RESERVE` of the one keep ratio that meets the
    target (AMC leaves 20 % of the filters): with completions of one filter a layer, an agent that
    prunes too little at first would be let go on until the last layers are cut to nothing, and
    with them the network. Only where no such completion meets the target do they go lower.

    How far all there is is found (this project's choice): MACs and parameters fall with
    every filter, so the least counts are the best completion. Latency and energy need not
    (mappings fit some counts better), so the leanest counts are found by coordinate descent from
    the least ones: exact for one target of latency or energy where no two of the visited spaces
    share a layer (``scope="inner"`` of a ResNet), else a completion may be missed.

    Args:
        shares: For each wanted cost the most of it, as a share of the unpruned network's.
        costs: Of the environment.
        visited: The spaces that an episode walks through, unpruned.
        min_keep: Least number of filters kept.
        round_to: Kept filters are rounded up to a multiple of this.
    """

    def __init__(
        self,
        shares: Mapping[str, float],
        costs: CostModel,
        visited: Sequence[ChannelSpace],
        min_keep: int,
        round_to: int,
    ) -> None:
        self.shares, self.costs = dict(shares), costs
        self.full = costs.of()
        self.legal = [legal_counts(space.channels, min_keep, round_to) for space in visited]
        self._names = [space.name for space in visited]
        self._plans: dict[Counts, Counts | None] = {}
        self.uniform_ratio, self._uniform = self._largest_uniform()
        self.lean = self._leanest([self._reserved(legal) for legal in self.legal])
        if self.plan(()) is None:
            self._plans.clear()
            self.lean = self._leanest(self.legal)

    def plan(self, before: Counts) -> Counts | None:
        """Counts of all visited spaces that begin with these and meet the target.

        It depends on ``before`` alone, and where a plan is followed there is one afterwards.

        Args:
            before: Counts of the spaces that were visited, from the first.

        Returns:
            The counts, or None where none were found.
        """
        if before in self._plans:
            return self._plans[before]
        # Whichever is followed by one more space is a candidate again there: none is ever lost.
        candidates = [(*before, *lean[len(before) :]) for lean in self.lean]
        if self._uniform[: len(before)] == before:
            candidates.append(self._uniform)
        plan = next((counts for counts in candidates if self.meets(counts)), None)
        return remember(self._plans, before, plan)

    def figures(self, counts: Counts, names: Iterable[str] | None = None) -> dict[str, float]:
        """Costs as shares of the unpruned network's.

        Args:
            counts: Of all visited spaces.
            names: Of the costs; None: of those that are wanted.
        """
        named = dict(zip(self._names, counts, strict=True))
        geometry, result = self.costs.geometry, dict[str, float]()
        for name in self.shares if names is None else names:
            value: float
            if name in BY_COUNTING:
                # No search for mappings where none is asked for.
                value = geometry.macs(named) if name == "macs" else geometry.params(named)
            else:
                value = self.costs.of(named).of(name)
            result[name] = value / self.full.of(name)
        return result

    def _figure(self, name: str, counts: Counts) -> float:
        return self.figures(counts, [name])[name]

    def meets(self, counts: Counts) -> bool:
        """Whether the network of these counts meets the target."""
        return all(figure <= self.shares[name] for name, figure in self.figures(counts).items())

    def excess(self, counts: Counts) -> float:
        """The largest of the costs, each over what is wanted of it."""
        return max(figure / self.shares[name] for name, figure in self.figures(counts).items())

    def _reserved(self, legal: Sequence[int]) -> list[int]:
        """The legal counts of a space that leave it its reserve."""
        least = round(RESERVE * self.uniform_ratio * legal[-1])
        return [count for count in legal if count >= least]

    def _leanest(self, legal: Sequence[Sequence[int]]) -> list[Counts]:
        """Of these counts the least ones, then those of the least latency and so on as wanted."""
        least = tuple(counts[0] for counts in legal)
        found = [least]
        for name in self.shares:
            if name not in BY_COUNTING:
                found.append(self._descend(legal, partial(self._figure, name)))
        if len(self.shares) > 1:
            found.append(self._descend(legal, self.excess))
        return list(dict.fromkeys(found))

    @staticmethod
    def _descend(legal: Sequence[Sequence[int]], value: Callable[[Counts], float]) -> Counts:
        """Coordinate descent over these counts, from the least ones."""
        best: Counts = tuple(counts[0] for counts in legal)
        lowest, improved = value(best), True
        while improved:
            improved = False
            for place, counts in enumerate(legal):
                for count in counts:
                    trial = (*best[:place], count, *best[place + 1 :])
                    found = value(trial)
                    if found < lowest:
                        best, lowest, improved = trial, found, True
        return best

    def ratio_for_rest(self, before: Counts) -> float:
        """The keep ratio, the same in every space to come, with which the target is just met.

        Found by bisection: of latency or energy, which need not fall with the ratio, it may be a
        smaller one than the largest. Where none meets the target, it is the least.

        Args:
            before: Counts of the spaces that were visited, from the first; not of all.
        """
        if not before:
            return self.uniform_ratio
        ratios = _distinct_ratios(self.legal[len(before) :])
        too_much = bisect_left(
            ratios, True, key=lambda ratio: not self.meets(self._of_ratio(ratio, before))
        )
        return ratios[max(0, too_much - 1)]

    def _of_ratio(self, ratio: float, before: Counts = ()) -> Counts:
        """Counts of all spaces, those to come cut at one ratio."""
        rest = self.legal[len(before) :]
        # Legal counts rise.
        places = [bisect_left(legal, round(ratio * legal[-1])) for legal in rest]
        return (*before, *(legal[at] for legal, at in zip(rest, places, strict=True)))

    def _largest_uniform(self) -> tuple[float, Counts]:
        """The largest ratio whose counts meet the target, or the nearest to it; and its counts."""
        nearest: tuple[float, float, Counts] | None = None
        for ratio in reversed(_distinct_ratios(self.legal)):
            counts = self._of_ratio(ratio)
            if self.meets(counts):
                return ratio, counts
            excess = self.excess(counts)
            if nearest is None or excess < nearest[0]:
                nearest = excess, ratio, counts
        assert nearest is not None
        return nearest[1:]


def _distinct_ratios(legal: Sequence[Sequence[int]]) -> list[float]:
    """One ratio for each different cut of spaces with these legal counts, rising."""
    widths = {counts[-1] for counts in legal}
    # Between two neighbouring steps of round(ratio * n) all counts stay the same.
    steps = sorted({(kept - 0.5) / n for n in widths for kept in range(1, n + 1)} | {0.0})
    return [(low + high) / 2 for low, high in zip(steps, [*steps[1:], 1.0], strict=True)]
