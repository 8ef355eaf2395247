"""What a step pays: this project's formulation, after Huang et al. 2018 (WACV)."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Reward:
    """The reward of one step and its named components.

    Args:
        psi: Accuracy term, -1 to 1: 1 without loss, 0 at the tolerance.
        phi_prune: log of cost before over cost after the step.
        phi_duration: log of the longest over the chosen duration.
        prune: Reward of the pruning task.
        duration: Reward of the duration task.
        total: ``prune + weight * duration``.
    """

    psi: float
    phi_prune: float
    phi_duration: float
    prune: float
    duration: float
    total: float

    def as_dict(self) -> dict[str, float]:
        """The components by name, as they stand in ``info["rewards"]``."""
        return dict(vars(self))


@dataclass(frozen=True)
class RewardFunction:
    """Maps accuracy, cost and duration to a :class:`Reward`.

    ``psi = clip((b - (a0 - a)) / b, -1, 1)`` is Huang et al.'s accuracy term with the tolerance
    ``b``; their ``phi = log(N / kept)`` becomes the log-ratio of costs, and the duration has one
    of its own. ``r = psi * phi`` where ``psi >= 0``, else ``-|psi| * (1 + |phi|)``: the more a
    collapsed network saved, the worse it scores.

    Args:
        baseline_accuracy: a0, 0 to 1.
        tolerance: b, the drop in accuracy at which nothing is earned; above 0.
        duration_weight: w, what the duration's reward counts.

    Raises:
        ValueError: A tolerance or weight out of range.
    """

    baseline_accuracy: float
    tolerance: float
    duration_weight: float

    def __post_init__(self) -> None:
        if not 0 < self.tolerance <= 1:
            raise ValueError(f"tolerance={self.tolerance} is not within (0, 1]")
        if not 0 <= self.duration_weight < math.inf:
            raise ValueError(f"duration_weight={self.duration_weight} is not finite and >= 0")

    def psi(self, accuracy: float) -> float:
        """The accuracy term, -1 to 1."""
        drop = self.baseline_accuracy - accuracy
        return min(1.0, max(-1.0, (self.tolerance - drop) / self.tolerance))

    def score(self, accuracy: float, cost_ratio: float) -> float:
        """What a whole network is worth: the pruning reward against the unpruned one.

        Args:
            accuracy: 0 to 1.
            cost_ratio: Cost of the unpruned network over this one's.

        Returns:
            ``psi * log(cost_ratio)``, or less than 0 where the accuracy collapsed.
        """
        return _task(self.psi(accuracy), math.log(cost_ratio))

    def __call__(
        self,
        accuracy: float,
        cost_before: float,
        cost_after: float,
        batches: int,
        max_batches: int,
    ) -> Reward:
        """The reward of one step.

        Args:
            accuracy: After the step, 0 to 1.
            cost_before: Above 0, in the unit of the objective.
            cost_after: Above 0, the same unit.
            batches: Mini-batches of fine-tuning, 0 to ``max_batches``.
            max_batches: The most that a step may take.

        Returns:
            The reward with its components.
        """
        psi = self.psi(accuracy)
        phi_prune = math.log(cost_before / cost_after)
        phi_duration = math.log((max_batches + 1) / (batches + 1))
        prune, duration = _task(psi, phi_prune), _task(psi, phi_duration)
        total = prune + self.duration_weight * duration
        return Reward(psi, phi_prune, phi_duration, prune, duration, total)


def _task(psi: float, phi: float) -> float:
    return psi * phi if psi >= 0 else -abs(psi) * (1 + abs(phi))
