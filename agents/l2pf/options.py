"""Hyperparameters of L2PF."""

from dataclasses import dataclass

GRANULARITIES = ("layer", "stage")
DURATION_LEARNS = ("duration", "total")


@dataclass(frozen=True)
class L2PFOptions:
    """Hyperparameters. All defaults are this project's choice, by measurement on ``shapes``.

    Args:
        candidates: Actions tried from one state for one update.
        updates: Most updates of the policy in each layer (or stage), before the best candidate
            is carried out.
        learning_rate: Of Adam.
        hidden: Width of the policy.
        initial_keep: Share of filters that the untrained policy keeps. None: the one with which
            the environment's target is met, or 0.5 without one.
        follow_target: Whether the policy starts, in each layer anew, from the share that the
            layers to come still need for the target, whatever those before it kept: all logits
            are shifted from ``initial_keep`` to there. Where the reward pays for cuts beyond the
            target, the policy learns to outweigh the shift, and in the surrogate it collapsed.
            None: with ``reward="target"`` alone.
        norm_prior: What one standard deviation of a filter's norm adds to its logit at first; the
            untrained share stays ``initial_keep`` whatever it is.
        initial_duration: Median duration of the untrained policy, above 0, at most 1.
        initial_spread: Standard deviation of its logarithm.
        fixed_duration: Every step's duration, above 0, at most 1: nothing is learned about
            durations then (what L2PF is compared with). None: the policy learns it.
        duration_learns: The reward that the durations' part of the policy learns from: the
            ``"duration"`` task's own, as in the paper, or the ``"total"``, in which the accuracy
            that fine-tuning regains counts with ``reward="target"``.
        entropy_bonus: Weight of the Bernoullis' entropy in the loss.
        converged_entropy: A layer's policy has converged where the mean entropy of its Bernoullis
            is below this (nats, ln 2 at most), and no further update is made there; 0: never.
        granularity: What is decided at once: a ``"layer"``; a ``"stage"``, consecutive layers of
            as many filters; or a number of consecutive layers. A candidate of several layers is
            played to their end, and each task's rewards are summed.
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
        for name in ("candidates", "updates", "hidden"):
            if getattr(self, name) < (2 if name == "candidates" else 1):
                raise ValueError(f"{name}={getattr(self, name)} is too small")
        for name in ("initial_keep", "initial_duration"):
            value = getattr(self, name)
            if not (0 < value < 1 if value is not None else name == "initial_keep"):
                raise ValueError(f"{name}={value} must lie between 0 and 1")
        if self.fixed_duration is not None and not 0 < self.fixed_duration <= 1:
            raise ValueError(f"fixed_duration={self.fixed_duration} must be above 0, at most 1")
        for name in ("learning_rate", "initial_spread"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
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
