"""A control: the widths of the least summed sensitivity that the target allows."""

from collections.abc import Iterator, Sequence

import numpy as np

from agents.common.allocation import Allocation, Counts, Losses, with_count
from agents.sensitivity import equal

PARTS = 4000
"""Parts into which the dynamic program divides the target's limit."""
LEVELS = 16
"""Counts of a space that the local search tries at first; the rest follows in single steps."""


class Knapsack(Allocation):
    """The least sum of the layers' sensitivities under the exact cost.

    Where the cost of a network is a sum over the visited spaces, a dynamic program finds the best
    counts (SPDY: Frantar and Alistarh 2022, "SPDY: Accurate Pruning with Speedup Guarantees",
    section 3.2: ``D[l][t] = min_s D[l-1][t - T_l(s)] + E_l(s)``). Where a layer's cost depends on
    two spaces, or several costs are limited, a local search on the exact cost starts from counts
    of equal sensitivity and from one ratio, and moves filters from one space to another
    (this project's choice). It finds no more than a local optimum.

    The arguments are those of :class:`agents.common.allocation.Allocation`.
    """

    def allocate(self, losses: Losses) -> Counts:
        """See :meth:`Allocation.allocate`."""
        real = self._real
        added = _added_costs(losses)
        if added is not None:
            found = program(losses, *added)
            if found is not None:
                return losses.filled(found)
        ratio = real.ratio_for_target()
        assert ratio is not None
        one_ratio = tuple(
            min(legal, key=lambda count: (abs(count - ratio * legal[-1]), count))
            for legal in losses.legal
        )
        threshold = equal(losses)
        starts = [each for each in (threshold, one_ratio) if losses.meets(each)]
        if not starts:
            return threshold
        return min((descended(losses, start) for start in starts), key=losses.loss)


def _added_costs(losses: Losses) -> tuple[list[dict[int, float]], float] | None:
    """What each count of each space adds to the excess, and the excess of the narrowest network.

    None if a network's excess is not the sum of these.
    """
    narrow = tuple(legal[0] for legal in losses.legal)
    wide = tuple(legal[-1] for legal in losses.legal)
    least = losses.excess(narrow)
    if len(losses.target.excess(narrow)) > 1:
        return None
    costs = []
    for place, legal in enumerate(losses.legal):
        rest = losses.excess(with_count(wide, place, legal[0]))
        added = {}
        for count in legal:
            added[count] = losses.excess(with_count(narrow, place, count)) - least
            # The same space in the widest network, from which the others took their part.
            beside = losses.excess(with_count(wide, place, count)) - rest
            if not np.isclose(added[count], beside, rtol=1e-9, atol=1e-12):
                return None
        costs.append(added)
    return costs, least


def program(losses: Losses, costs: Sequence[dict[int, float]], least: float) -> Counts | None:
    """The dynamic program over a limit that is divided into ``PARTS``; None if nothing fits.

    Costs are rounded up to parts, so that the result surely meets the target.

    Args:
        losses: Sensitivities by counts.
        costs: What each count of each space adds to the excess of the narrowest network.
        least: That excess.
    """
    room = 1 - least
    if room < 0:
        return None
    # A count may also cost less than the narrowest (latency); it then takes no part.
    parts = [
        {
            count: max(0, int(np.ceil(cost / max(room, 1e-12) * PARTS - 1e-9)))
            for count, cost in added.items()
        }
        for added in costs
    ]
    best = np.zeros(PARTS + 1)
    chosen = []
    for table, takes in zip(losses.table, parts, strict=True):
        after, choice = np.full(PARTS + 1, np.inf), np.zeros(PARTS + 1, int)
        for count, loss in table.items():
            if takes[count] > PARTS:
                continue
            trial = np.full(PARTS + 1, np.inf)
            trial[takes[count] :] = best[: PARTS + 1 - takes[count]] + loss
            choice = np.where(trial < after, count, choice)
            after = np.minimum(after, trial)
        best = after
        chosen.append(choice)
    counts, left = list[int](), PARTS
    for takes, choice in zip(reversed(parts), reversed(chosen), strict=True):
        counts.append(int(choice[left]))
        left -= takes[counts[-1]]
    return tuple(reversed(counts))


def descended(losses: Losses, start: Counts) -> Counts:
    """Move filters from one space to another until no move lowers the loss.

    The first moves go over at most ``LEVELS`` counts of each space, the last over all.
    """
    coarse = [_levels(legal, now) for legal, now in zip(losses.legal, start, strict=True)]
    counts = losses.filled(start)
    for levels in (coarse, losses.legal):
        while (moved := _moved(losses, counts, levels)) is not None:
            counts = moved
    return counts


def _levels(legal: Sequence[int], now: int) -> list[int]:
    if len(legal) <= LEVELS:
        return list(legal)
    places = np.linspace(0, len(legal) - 1, LEVELS).round().astype(int)
    return sorted({*(legal[place] for place in places), now})


def _moved(losses: Losses, counts: Counts, levels: Sequence[Sequence[int]]) -> Counts | None:
    """The best of the moves that lower the loss, widened by what is left; None without one."""
    best, found = losses.loss(counts) - 1e-12, None
    for trial in _moves(losses, counts, levels):
        if (loss := losses.loss(trial)) < best:
            best, found = loss, trial
    return None if found is None else losses.filled(found)


def _moves(losses: Losses, counts: Counts, levels: Sequence[Sequence[int]]) -> Iterator[Counts]:
    """For each pair of spaces: one a level wider, the other as wide as the target then allows."""
    for wide, own in enumerate(levels):
        more = next((count for count in own if count > counts[wide]), None)
        if more is None:
            continue
        wider = with_count(counts, wide, more)
        for narrow, others in enumerate(levels):
            if narrow == wide:
                continue
            for less in reversed([count for count in others if count < counts[narrow]]):
                trial = with_count(wider, narrow, less)
                if losses.loss(trial) >= losses.loss(counts):
                    break
                if losses.meets(trial):
                    yield trial
                    break
