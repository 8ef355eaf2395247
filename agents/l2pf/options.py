"""Hyperparameters of L2PF."""

from dataclasses import dataclass

from agents.common import checks

GRANULARITIES = ("layer", "stage")
DURATION_LEARNS = ("duration", "total")


@dataclass(frozen=True)
class L2PFOptions:
    """Hyperparameters. All defaults are this project's choice, by measurement on ``shapes``.

    Args:
        candidates: Number of actions tried from one state for one update.
        updates: Largest number of updates in each layer (or stage), before the best candidate is
            executed.
        learning_rate: Learning rate of Adam.
        hidden: Width of the policy.
        initial_keep: Keep ratio of the untrained policy. None: the ratio that meets the
            environment's target, or 0.5 without a target.
        follow_target: Whether the policy starts in each layer from the keep ratio that the
            remaining layers need to meet the target, whatever the earlier layers kept: all logits
            are shifted from ``initial_keep`` to that ratio. If the reward pays for cuts beyond the
            target, the policy learns to outweigh the shift; in the surrogate it collapsed. None:
            only with ``reward="target"``.
        norm_prior: Number that one standard deviation of a filter's norm adds to the filter's
            logit at first. It does not change the untrained keep ratio.
        initial_duration: Median duration of the untrained policy, above 0 and below 1.
        initial_spread: Standard deviation of the duration's logarithm.
        fixed_duration: Duration of every step, above 0, at most 1. The policy then learns nothing
            about durations, which is what L2PF is compared with. None: the policy learns it.
        duration_learns: Reward from which the policy learns durations: the component
            ``"duration"``, as in the paper, or ``"total"``, which with ``reward="target"`` includes
            the accuracy regained by fine-tuning.
        entropy_bonus: Weight of the Bernoulli distributions' entropy in the loss.
        converged_entropy: Mean entropy of a layer's Bernoulli distributions, in nats (at most
            ln 2), below which the layer gets no further update. 0: never.
        granularity: Unit of a decision: a ``"layer"``; a ``"stage"``, which is consecutive layers
            with the same number of filters; or a number of consecutive layers. A candidate of
            several layers is played to its end, and each reward component is summed.
    """

    candidates: int = 4
    updates: int = 3
    learning_rate: float = 3e-3
    hidden: int = 64
    initial_keep: float | None = None
    follow_target: bool | None = None
    norm_prior: float = 3.0
    initial_duration: float = 0.1
    initial_spread: float = 0.8
    fixed_duration: float | None = None
    duration_learns: str = "duration"
    entropy_bonus: float = 1e-3
    converged_entropy: float = 0.0
    granularity: str | int = "layer"

    def __post_init__(self) -> None:
        checks.whole(self, "candidates", least=2)
        checks.whole(self, "updates", "hidden")
        checks.between(self, "initial_keep", "initial_duration")
        checks.positive(self, "learning_rate", "initial_spread")
        if self.fixed_duration is not None and not 0 < self.fixed_duration <= 1:
            raise ValueError(f"fixed_duration={self.fixed_duration} must be above 0, at most 1")
        if self.duration_learns not in DURATION_LEARNS:
            raise ValueError(
                f"duration_learns={self.duration_learns!r} must be one of {DURATION_LEARNS}"
            )
        if self.follow_target not in (True, False, None):
            raise ValueError(f"follow_target={self.follow_target!r} must be true, false or null")
        if not self.converged_entropy >= 0:
            raise ValueError(f"converged_entropy={self.converged_entropy} must not be negative")
        layers = self.granularity
        whole = isinstance(layers, int) and not isinstance(layers, bool) and layers >= 1
        if not whole and layers not in GRANULARITIES:
            raise ValueError(
                f"granularity={layers!r} must be one of {GRANULARITIES} or a number of layers"
            )
