"""Search for networks that an episode can still reach and that meet a target."""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from prune_gym.costs import CostModel, StepCosts, remember
from prune_gym.pruning import ChannelSpace

BY_COUNTING = ("macs", "params")
RESERVE = 0.5
"""Share of the uniform keep ratio that a completion keeps in every remaining layer."""
VisitCounts = tuple[int, ...]
"""Channels of the visited spaces, in the order of the visits."""


def legal_counts(channels: int, min_keep: int, round_to: int) -> list[int]:
    """The counts that :func:`prune_gym.pruning.legal_mask` allows, in ascending order."""
    rounded = (-(-max(count, min_keep) // round_to) * round_to for count in range(1, channels + 1))
    return sorted({min(count, channels) for count in rounded})


class Completions:
    """Finds counts of the remaining spaces with which the final network meets a target.

    A completion is a network that the rules allow, so it can certainly be reached. It keeps in
    every remaining layer :data:`RESERVE` of the uniform keep ratio that meets the target (AMC
    keeps 20 % of the filters). If completions kept one filter a layer, an agent that prunes too
    little at first could continue until the last layers are cut to nothing, which ruins the
    network. Completions go below the reserve only if none above it meets the target.

    The search is this project's choice. MACs and parameters fall with every filter, so the lowest
    counts are the best completion. Latency and energy may rise with fewer filters (some counts
    map better), so the leanest counts are found by coordinate descent from the lowest counts. The
    result is exact for one target of latency or energy if no two visited spaces share a layer
    (``scope="inner"`` of a ResNet); otherwise a completion may be missed. None was on small
    networks with tied and chained spaces that the tests enumerate.

    Args:
        shares: Limit of each wanted cost, as a share of the unpruned network's cost.
        costs: Cost model of the environment.
        visited: Unpruned spaces that an episode visits.
        min_keep: Minimum number of filters to keep.
        round_to: Multiple to which the number of kept filters is rounded up.

    Attributes:
        legal: Counts of each visited space that the rules allow, in ascending order.
        searched: Those of them that completions have.
        uniform_ratio: Largest ratio that meets the target in all spaces, or the nearest one.
        uniform: Counts of a cut at this ratio.
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
        self._found: dict[VisitCounts, VisitCounts | None] = {}
        self.uniform_ratio, self.uniform = self._largest_uniform()
        self.searched = [self._reserved(legal) for legal in self.legal]
        self._lean: list[VisitCounts] | None = None
        if self.completion(()) is None:
            self._found.clear()
            self.searched, self._lean = self.legal, None

    def completion(self, before: VisitCounts) -> VisitCounts | None:
        """Counts of all visited spaces that begin with these and meet the target, if any.

        The result depends on ``before`` only. A step along a completion leads to counts that
        have a completion.
        """
        if before in self._found:
            return self._found[before]
        found = next((counts for counts in self._candidates(before) if self.meets(counts)), None)
        return remember(self._found, before, found)

    def _candidates(self, before: VisitCounts) -> Iterator[VisitCounts]:
        """Networks that begin with these counts; those for which nothing is searched come first.

        If an episode follows a candidate for one more space, it is still a candidate.
        """
        least = tuple(counts[0] for counts in self.searched)
        yield (*before, *least[len(before) :])
        if self.uniform[: len(before)] == before:
            yield self.uniform
        for lean in self.lean:
            yield (*before, *lean[len(before) :])

    @property
    def lean(self) -> list[VisitCounts]:
        """The lowest counts, and those with the least latency or energy if these are limited.

        They are searched for when they are first needed, since that takes seconds for wide chains.
        """
        if self._lean is None:
            self._lean = self._leanest()
        return self._lean

    def figures(self, counts: VisitCounts, names: Iterable[str] | None = None) -> dict[str, float]:
        """Costs (default: the wanted ones) as shares of the unpruned network's costs."""
        named = self._named(counts)
        geometry, result = self.costs.geometry, dict[str, float]()
        for name in self.shares if names is None else names:
            value: float
            if name in BY_COUNTING:
                # These costs need no search for mappings.
                value = geometry.macs(named) if name == "macs" else geometry.params(named)
            else:
                value = self.costs.of(named).of(name)
            result[name] = value / self.full.of(name)
        return result

    def meets(self, counts: VisitCounts) -> bool:
        """Whether the network with these counts meets the target."""
        if set(self.shares) <= set(BY_COUNTING):
            return all(figure <= self.shares[name] for name, figure in self.figures(counts).items())
        # The MACs alone show of most networks that they take too long.
        costs = self.costs.of_if(self._named(counts), self._within)
        return costs is not None and self._within(costs)

    def _within(self, costs: StepCosts) -> bool:
        return all(costs.of(n) / self.full.of(n) <= share for n, share in self.shares.items())

    def excess(self, counts: VisitCounts) -> float:
        """The largest wanted cost, relative to its limit."""
        return max(figure / self.shares[name] for name, figure in self.figures(counts).items())

    def _reserved(self, legal: Sequence[int]) -> list[int]:
        """The legal counts of a space that leave it its reserve."""
        least = round(RESERVE * self.uniform_ratio * legal[-1])
        return [count for count in legal if count >= least]

    def _leanest(self) -> list[VisitCounts]:
        found = [tuple(counts[0] for counts in self.searched)]
        for name in self.shares:
            if name not in BY_COUNTING:
                found.append(self._descend([name]))
        if len(self.shares) > 1:
            found.append(self._descend(self.shares))
        return list(dict.fromkeys(found))

    def _descend(self, names: Collection[str]) -> VisitCounts:
        """Coordinate descent of the largest of these costs relative to its limit.

        It starts from the lowest counts.
        """

        def value(costs: StepCosts) -> float:
            return max(costs.of(name) / self.full.of(name) / self.shares[name] for name in names)

        def is_lower(costs: StepCosts) -> bool:
            return value(costs) < lowest

        best: VisitCounts = tuple(counts[0] for counts in self.searched)
        lowest, improved = value(self.costs.of(self._named(best))), True
        while improved:
            improved = False
            for place, counts in enumerate(self.searched):
                for count in counts:
                    trial = (*best[:place], count, *best[place + 1 :])
                    found = self.costs.of_if(self._named(trial), is_lower)
                    if found is not None and is_lower(found):
                        best, lowest, improved = trial, value(found), True
        return best

    def _named(self, counts: VisitCounts) -> dict[str, int]:
        return dict(zip(self._names, counts, strict=True))

    def ratio_for_rest(self, before: VisitCounts) -> float:
        """The uniform keep ratio of the remaining spaces that just meets the target.

        The ratio is found by bisection. For latency and energy, which may rise as the ratio falls,
        it may be below the largest one. If no ratio meets the target, the result is the smallest
        ratio. At least one space must remain.
        """
        if not before:
            return self.uniform_ratio
        ratios = _distinct_ratios(self.legal[len(before) :])
        too_much = bisect_left(
            ratios, True, key=lambda ratio: not self.meets(self._of_ratio(ratio, before))
        )
        return ratios[max(0, too_much - 1)]

    def _of_ratio(self, ratio: float, before: VisitCounts = ()) -> VisitCounts:
        """Counts of all spaces if the remaining ones are cut at one ratio."""
        rest = self.legal[len(before) :]
        # Legal counts are in ascending order.
        places = [bisect_left(legal, round(ratio * legal[-1])) for legal in rest]
        return (*before, *(legal[at] for legal, at in zip(rest, places, strict=True)))

    def _largest_uniform(self) -> tuple[float, VisitCounts]:
        """The largest ratio that meets the target, or the nearest one, with its counts."""
        cuts = [(ratio, self._of_ratio(ratio)) for ratio in _distinct_ratios(self.legal)[::-1]]
        for ratio, counts in cuts:
            if self.meets(counts):
                return ratio, counts
        return min(cuts, key=lambda cut: self.excess(cut[1]))


def _distinct_ratios(legal: Sequence[Sequence[int]]) -> list[float]:
    """One ratio for each different cut of spaces with these counts, in ascending order."""
    widths = {counts[-1] for counts in legal}
    # Between two neighbouring steps of round(ratio * n) no count changes.
    steps = sorted({(kept - 0.5) / n for n in widths for kept in range(1, n + 1)} | {0.0})
    return [(low + high) / 2 for low, high in zip(steps, [*steps[1:], 1.0], strict=True)]
