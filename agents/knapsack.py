"""A control: the widths of the least summed sensitivity that the target allows."""

from collections.abc import Iterator, Sequence

import numpy as np

from agents.common.allocation import Allocation, Counts, Losses
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
        costs = _added_costs(losses)
        if costs is not None:
            found = program(losses, costs)
            if found is not None:
                return losses.filled(found)
        ratio = real.ratio_for_target()
        assert ratio is not None
        one_ratio = tuple(
            min(legal, key=lambda count: (abs(count - ratio * legal[-1]), count))
            for legal in losses.legal
        )
        starts = [each for each in (equal(losses), one_ratio) if losses.meets(each)]
        if not starts:
            return equal(losses)
        return min((descended(losses, start) for start in starts), key=losses.loss)


def _added_costs(losses: Losses) -> list[dict[int, float]] | None:
    """What each count of each space adds to the excess, if these add up; None if they do not.

    The last entry of the list holds the cost of the narrowest network, by count 0.
    """
    narrow = tuple(legal[0] for legal in losses.legal)
    wide = tuple(legal[-1] for legal in losses.legal)
    least = losses.excess(narrow)
    if len(losses.target.excess(narrow)) > 1:
        return None
    costs = []
    for place, legal in enumerate(losses.legal):
        added = {}
        for count in legal:
            alone = losses.excess((*narrow[:place], count, *narrow[place + 1 :])) - least
            # The same space in the widest network, from which the others took their part.
            beside = losses.excess((*wide[:place], count, *wide[place + 1 :]))
            rest = losses.excess((*wide[:place], legal[0], *wide[place + 1 :]))
            if not np.isclose(alone, beside - rest, rtol=1e-9, atol=1e-12):
                return None
            added[count] = alone
        costs.append(added)
    return [*costs, {0: least}]


def program(losses: Losses, costs: Sequence[dict[int, float]]) -> Counts | None:
    """The dynamic program over a limit that is divided into ``PARTS``; None if nothing fits.

    Costs are rounded up to parts, so that the result surely meets the target.

    Args:
        losses: Sensitivities by counts.
        costs: What each count of each space adds to the excess; the last entry holds the cost of
            the narrowest network.
    """
    room = 1 - costs[-1][0]
    if room < 0:
        return None
    best = np.zeros(PARTS + 1)
    chosen = []
    for table, added in zip(losses.table, costs[:-1], strict=True):
        after, choice = np.full(PARTS + 1, np.inf), np.zeros(PARTS + 1, int)
        for count, loss in table.items():
            # A count may also cost less than the narrowest (latency); it then takes no part.
            parts = max(0, int(np.ceil(added[count] / max(room, 1e-12) * PARTS - 1e-9)))
            if parts > PARTS:
                continue
            trial = np.full(PARTS + 1, np.inf)
            trial[parts:] = best[: PARTS + 1 - parts] + loss
            choice = np.where(trial < after, count, choice)
            after = np.minimum(after, trial)
        best = after
        chosen.append(choice)
    counts, left = list[int](), PARTS
    for added, choice in zip(reversed(costs[:-1]), reversed(chosen), strict=True):
        count = int(choice[left])
        counts.append(count)
        left -= max(0, int(np.ceil(added[count] / max(room, 1e-12) * PARTS - 1e-9)))
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
        wider = (*counts[:wide], more, *counts[wide + 1 :])
        for narrow, others in enumerate(levels):
            if narrow == wide:
                continue
            for less in reversed([count for count in others if count < counts[narrow]]):
                trial = (*wider[:narrow], less, *wider[narrow + 1 :])
                if losses.loss(trial) >= losses.loss(counts):
                    break
                if losses.meets(trial):
                    yield trial
                    break
