"""What a run may compute and what it took, in epoch-equivalents.

One epoch-equivalent is the arithmetic of an epoch of training the unpruned network: three forward
passes on the training split (forward, and backward at twice its cost). Everything on the way to
the result counts: measured sensitivities, trials, repair, evaluation and fine-tuning in the
search, the final fine-tune, and the forward passes of its teacher. Only the accuracies that the
report states at the end (whole validation split, test split) do not count.
"""

from dataclasses import dataclass

from prune_gym.costs import StepCosts
from prune_gym.errors import PruneGymError
from prune_gym.jsonfile import Amount, Count, Whole

PASSES = 3
"""Forward passes of an epoch-equivalent."""
SEARCH_SHARE = 1 / 3
"""Share of a budget after which no further episode begins (this project's choice)."""
TOLERATED = 0.02
"""Share of a budget by which a search may exceed it; the final fine-tune is then left out."""


def epoch_macs(macs: int, images: int) -> int:
    """MACs of an epoch-equivalent.

    Args:
        macs: MACs of the unpruned network for one image.
        images: Number of images in the training split.
    """
    return PASSES * macs * images


@dataclass(frozen=True)
class Compute:
    """What a run took, in nominal MACs.

    Args:
        epoch: MACs of an epoch-equivalent.
        search: MACs of the search.
        tuning: MACs of the final fine-tune.
        teacher: MACs of the unpruned network's logits, which the final fine-tune learns from.
    """

    epoch: Whole
    search: Count
    tuning: Count
    teacher: Count

    @property
    def total(self) -> float:
        """The whole run in epoch-equivalents."""
        return (self.search + self.tuning + self.teacher) / self.epoch

    @property
    def searched(self) -> float:
        """The share of the whole that was spent on the search, 0 to 1."""
        return self.search / max(1, self.search + self.tuning + self.teacher)

    def line(self, budget: Amount | None) -> str:
        """One line of text: how the budget was shared."""
        parts = (("search", self.search), ("fine-tune", self.tuning), ("teacher", self.teacher))
        shares = ", ".join(f"{name} {macs / self.epoch:.2f}" for name, macs in parts)
        of = "" if budget is None else f" of {budget:g}"
        return f"{'epoch-equivalents':<22}{self.total:.2f}{of} ({shares})"


@dataclass(frozen=True)
class FinalTuning:
    """The length of the final fine-tune and its cost.

    Args:
        batches: Number of mini-batches.
        tuning: MACs of the training.
        teacher: MACs of the teacher: a forward pass of the unpruned network for each image.
    """

    batches: int
    tuning: int
    teacher: int

    @classmethod
    def of(
        cls, batches: int, size: int, own: StepCosts, teacher: StepCosts | None
    ) -> "FinalTuning":
        """A final fine-tune of this length.

        Args:
            batches: Number of mini-batches.
            size: Images of a mini-batch.
            own: Costs of the pruned network.
            teacher: Costs of the teacher; None without one.
        """
        images = batches * size
        return cls(batches, PASSES * own.macs * images, teacher.macs * images if teacher else 0)

    @classmethod
    def within(cls, left: float, size: int, own: StepCosts) -> "FinalTuning":
        """The longest final fine-tune without a teacher that takes at most ``left`` MACs.

        The other arguments are those of :meth:`of`.
        """
        batches = int(max(0.0, left) // (PASSES * own.macs * size))
        return cls.of(batches, size, own, None)


def check_spent(budget: float, search: int, epoch: int, folder: str) -> None:
    """Refuse a search that took more than the whole budget.

    Args:
        budget: Epoch-equivalents of the run.
        search: MACs of the search.
        epoch: MACs of an epoch-equivalent.
        folder: Folder of the run, for the remedy.

    Raises:
        PruneGymError: If it exceeds the budget by more than ``TOLERATED``.
    """
    spent = search / epoch
    if spent > budget * (1 + TOLERATED):
        raise PruneGymError(
            f"The search took {spent:.2f} of {budget:g} epoch-equivalents, so nothing is left to "
            f"train the network. Continue with a larger budget: prune-gym train --resume {folder} "
            f"--budget {1.5 * spent:.2g}. Or shorten the agent's episodes (fewer candidates, "
            "shorter durations)."
        )
