"""A control: every layer is cut until it does the same harm."""

from agents.common.allocation import Allocation, Counts, Losses


class Sensitivity(Allocation):
    """One threshold for the sensitivity of all layers.

    Each layer keeps the fewest filters with which it alone changes the network's outputs by no
    more than the threshold (:meth:`prune_gym.envs.PruningEnv.sensitivities`). The threshold is the
    least one with which the network meets the target; what the target then still allows widens the
    layers that gain most. NVIDIA's FastNAS and AIMET distribute filters in this way by default.

    The arguments are those of :class:`agents.common.allocation.Allocation`.
    """

    def allocate(self, losses: Losses) -> Counts:
        """See :meth:`Allocation.allocate`.

        Costs need not fall with the threshold (latency), so that it is the least one only where
        they do.
        """
        return equal(losses)


def equal(losses: Losses) -> Counts:
    """Counts of equal sensitivity that meet the target, or the narrowest counts if none do."""
    thresholds = sorted({value for table in losses.table for value in table.values()})
    low, high = 0, len(thresholds) - 1
    while low < high:
        middle = (low + high) // 2
        if losses.meets(losses.below(thresholds[middle])):
            high = middle
        else:
            low = middle + 1
    counts = losses.below(thresholds[low])
    return losses.filled(counts) if losses.meets(counts) else counts
