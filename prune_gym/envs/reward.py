"""What a step pays: this project's formulation, after Huang et al. 2018 (WACV)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

from prune_gym.costs import Costs
from prune_gym.errors import UnknownNameError

REWARDS = ("step", "target")


@dataclass(frozen=True)
class Reward:
    """The reward of one step and its named components.

    Args:
        psi: Accuracy term, -1 to 1: 1 without loss, 0 at the tolerance.
        phi_prune: log of cost before over cost after the step; with ``reward="target"`` of the
            distances to the target.
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
class Standing:
    """Where an episode stands before or after a step.

    Args:
        accuracy: 0 to 1.
        costs: Of the network.
    """

    accuracy: float
    costs: Costs


@dataclass(frozen=True)
class RewardFunction:
    """Maps accuracy, cost and duration to a :class:`Reward`: ``reward="step"``.

    ``psi = clip((b - (a0 - a)) / b, -1, 1)`` is Huang et al.'s accuracy term with the tolerance
    ``b``; their ``phi = log(N / kept)`` becomes the log-ratio of costs, and the duration has one
    of its own. ``r = psi * phi`` where ``psi >= 0``, else ``-|psi| * (1 + |phi|)``: the more a
    collapsed network saved, the worse it scores.

    Args:
        baseline_accuracy: a0, 0 to 1.
        tolerance: b, the drop in accuracy at which nothing is earned; above 0.
        duration_weight: w, what the duration's reward counts.
        objective: The cost that is paid for (:data:`prune_gym.costs.OBJECTIVES`).

    Raises:
        ValueError: A tolerance or weight out of range.
    """

    baseline_accuracy: float
    tolerance: float
    duration_weight: float
    objective: str

    def __post_init__(self) -> None:
        for name in ("tolerance", "duration_weight"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Real):
                raise ValueError(f"{name}={value!r} must be a number")
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

    def __call__(self, before: Standing, after: Standing, batches: int, max_batches: int) -> Reward:
        """The reward of one step.

        Args:
            before: The step.
            after: The step.
            batches: Mini-batches of fine-tuning, 0 to ``max_batches``.
            max_batches: The most that a step may take.

        Returns:
            The reward with its components.
        """
        psi = self.psi(after.accuracy)
        phi_prune, prune = self._prune(before, after)
        phi_duration = math.log((max_batches + 1) / (batches + 1))
        duration = _task(psi, phi_duration)
        total = prune + self.duration_weight * duration
        return Reward(psi, phi_prune, phi_duration, prune, duration, total)

    def _prune(self, before: Standing, after: Standing) -> tuple[float, float]:
        """Its phi, and the reward of the pruning task."""
        phi = math.log(before.costs.of(self.objective) / after.costs.of(self.objective))
        return phi, _task(self.psi(after.accuracy), phi)


@dataclass(frozen=True)
class TargetReward(RewardFunction):
    """Pays for the way to the target and nothing beyond it: ``reward="target"``.

    This project's formulation, potential-based shaping (Ng, Harada and Russell 1999, ICML): a step
    is paid ``S(after) - S(before)`` of the potential ``S = psi * log(D0 / D)``, where ``D`` is the
    largest of the wanted costs, each over what the target allows of it and 1 at the least, and
    ``D0`` the unpruned network's. So an episode's pruning rewards add up to the final network's
    ``S``, accuracy that was lost is paid back, accuracy that fine-tuning regains is paid for, and
    a cost below the target earns nothing. The objective does not enter.

    Args:
        baseline_accuracy: As for :class:`RewardFunction`.
        tolerance: As for :class:`RewardFunction`.
        duration_weight: As for :class:`RewardFunction`.
        objective: Not paid for; ``info["score"]`` is still of it.
        full: Costs of the unpruned network.
        shares: For each wanted cost the most of it, a share of the unpruned network's.

    Raises:
        ValueError: No cost is wanted.
    """

    full: Costs
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.shares:
            raise ValueError(
                "reward='target' needs a target with a cost, for example target={'macs': 0.5}"
            )

    def _prune(self, before: Standing, after: Standing) -> tuple[float, float]:
        phi = math.log(self._distance(before.costs) / self._distance(after.costs))
        return phi, self._potential(after) - self._potential(before)

    def _distance(self, costs: Costs) -> float:
        """D, at least 1."""
        return max(
            1.0,
            *(costs.of(name) / (self.full.of(name) * share) for name, share in self.shares.items()),
        )

    def _potential(self, standing: Standing) -> float:
        """S, 0 of the unpruned network."""
        way = math.log(self._distance(self.full) / self._distance(standing.costs))
        return _task(self.psi(standing.accuracy), way)


def make_reward(
    form: str,
    baseline_accuracy: float,
    tolerance: float,
    duration_weight: float,
    objective: str,
    full: Costs,
    shares: Mapping[str, float],
) -> RewardFunction:
    """A reward function by name.

    Args:
        form: One of :data:`REWARDS`.
        baseline_accuracy: As for :class:`RewardFunction`.
        tolerance: As for :class:`RewardFunction`.
        duration_weight: As for :class:`RewardFunction`.
        objective: As for :class:`RewardFunction`.
        full: As for :class:`TargetReward`.
        shares: As for :class:`TargetReward`.

    Raises:
        UnknownNameError: No such form.
        ValueError: A number out of range, or ``"target"`` where no cost is wanted.
    """
    if form not in REWARDS:
        raise UnknownNameError("reward", form, REWARDS)
    constants = baseline_accuracy, tolerance, duration_weight, objective
    return RewardFunction(*constants) if form == "step" else TargetReward(*constants, full, shares)


def _task(psi: float, phi: float) -> float:
    return psi * phi if psi >= 0 else -abs(psi) * (1 + abs(phi))
