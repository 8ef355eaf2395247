"""The reward of a step: this project's formulation, based on Huang et al. 2018 (WACV)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prune_gym.costs import Costs
from prune_gym.envs.config import EnvConfig

Measured = tuple[float, Costs]
"""Accuracy and costs of a network."""


@dataclass(frozen=True)
class Reward:
    """The reward of one step and its named components.

    Args:
        psi: Accuracy term, -1 to 1: 1 if no accuracy is lost, 0 at the tolerance.
        phi_prune: Logarithm of the cost before over the cost after the step; with
            ``reward="target"``, of the distances to the target.
        phi_duration: Logarithm of the longest over the chosen duration.
        prune: Component of the pruning decision.
        duration: Component of the duration decision.
        total: ``prune + weight * duration``.
    """

    psi: float
    phi_prune: float
    phi_duration: float
    prune: float
    duration: float
    total: float


@dataclass(frozen=True)
class RewardFunction:
    """Computes a :class:`Reward` from accuracy, cost and duration (``reward="step"``).

    ``psi = clip((b - (a0 - a)) / b, -1, 1)`` is Huang et al.'s accuracy term with the tolerance
    ``b``. Their ``phi = log(N / kept)`` is replaced by the log-ratio of costs, and the duration
    has its own ``phi``. ``r = psi * phi`` if ``psi >= 0``, else ``-|psi| * (1 + |phi|)``: the more
    a collapsed network saves, the lower its reward.

    Args:
        baseline_accuracy: Accuracy of the unpruned network (a0), 0 to 1.
        tolerance: Drop in accuracy at which a step earns nothing (b), above 0 and at most 1.
        duration_weight: Weight of the duration's component (w), at least 0.
        objective: Cost whose reduction is paid for (:data:`prune_gym.costs.OBJECTIVES`).
    """

    baseline_accuracy: float
    tolerance: float
    duration_weight: float
    objective: str

    def psi(self, accuracy: float) -> float:
        """The accuracy term, -1 to 1."""
        drop = self.baseline_accuracy - accuracy
        return min(1.0, max(-1.0, (self.tolerance - drop) / self.tolerance))

    def score(self, accuracy: float, cost_ratio: float) -> float:
        """The value of a whole network: the pruning component against the unpruned network.

        Args:
            accuracy: Accuracy of the network, 0 to 1.
            cost_ratio: Cost of the unpruned network divided by the cost of this network.

        Returns:
            ``psi * log(cost_ratio)``, or a value below 0 if the accuracy collapsed.
        """
        return _component(self.psi(accuracy), math.log(cost_ratio))

    def __call__(self, before: Measured, after: Measured, batches: int, max_batches: int) -> Reward:
        """The reward of one step.

        Args:
            before: Accuracy and costs before the step.
            after: Accuracy and costs after the step.
            batches: Mini-batches of fine-tuning, 0 to ``max_batches``.
            max_batches: Mini-batches of a step of duration 1.

        """
        psi = self.psi(after[0])
        phi_prune, prune = self._prune(before, after)
        phi_duration = math.log((max_batches + 1) / (batches + 1))
        duration = _component(psi, phi_duration)
        total = prune + self.duration_weight * duration
        return Reward(psi, phi_prune, phi_duration, prune, duration, total)

    def _prune(self, before: Measured, after: Measured) -> tuple[float, float]:
        """The phi and the component of the pruning decision."""
        phi = math.log(before[1].of(self.objective) / after[1].of(self.objective))
        return phi, _component(self.psi(after[0]), phi)


@dataclass(frozen=True)
class TargetReward(RewardFunction):
    """Pays for progress towards the target, and nothing beyond it (``reward="target"``).

    This project's formulation, potential-based shaping (Ng, Harada and Russell 1999, ICML): a step
    earns ``S(after) - S(before)`` with the potential ``S = psi * log(D0 / D)``. ``D`` is the
    largest wanted cost relative to its limit, at least 1, and ``D0`` is the unpruned network's.
    An episode's pruning components therefore add up to the final network's ``S``; lost accuracy
    is charged, regained accuracy is paid for, and a cost below the target earns nothing. The
    objective does not affect the reward.

    The first arguments are those of :class:`RewardFunction`.

    Args:
        full: Costs of the unpruned network.
        shares: Limit of each wanted cost, as a share of the unpruned network's cost; at least one.
    """

    full: Costs
    shares: Mapping[str, float]

    def _prune(self, before: Measured, after: Measured) -> tuple[float, float]:
        phi = math.log(self._distance(before[1]) / self._distance(after[1]))
        return phi, self._potential(*after) - self._potential(*before)

    def _distance(self, costs: Costs) -> float:
        """The distance D to the target, at least 1."""
        return max(
            1.0,
            *(costs.of(name) / (self.full.of(name) * share) for name, share in self.shares.items()),
        )

    def _potential(self, accuracy: float, costs: Costs) -> float:
        """The potential S; 0 for the unpruned network."""
        progress = math.log(self._distance(self.full) / self._distance(costs))
        return _component(self.psi(accuracy), progress)


def make_reward(config: EnvConfig, baseline_accuracy: float, full: Costs) -> RewardFunction:
    """The reward function of a configuration; ``full`` holds the unpruned network's costs."""
    constants = baseline_accuracy, config.tolerance, config.duration_weight, config.objective
    if config.reward == "step":
        return RewardFunction(*constants)
    return TargetReward(*constants, full, config.wanted_costs)


def _component(psi: float, phi: float) -> float:
    return psi * phi if psi >= 0 else -abs(psi) * (1 + abs(phi))
