"""Hyperparameters of the agents that learn by Stable-Baselines3.

The names are Stable-Baselines3's wherever they mean the same. What it counts in steps is counted
in episodes here, as an episode has one step a layer. The defaults are this project's choice; they
stand in ``agents/hyperparameters`` too, beside those of single environments.
"""

from dataclasses import dataclass, fields
from typing import Any


def _check(options: Any, whole: tuple[str, ...], positive: tuple[str, ...]) -> None:
    """Refuse what is out of range, by name."""
    for name in whole:
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number above 0")
    for name in positive:
        value = getattr(options, name)
        if isinstance(value, str | bool) or not 0 < value < float("inf"):
            raise ValueError(f"{name}={value!r} must be a finite number above 0")
    for field in fields(options):
        if field.name in ("gamma", "gae_lambda", "tau"):
            value = getattr(options, field.name)
            if not 0 <= value <= 1:
                raise ValueError(f"{field.name}={value} is not within [0, 1]")


@dataclass(frozen=True)
class A2COptions:
    """Of ``a2c``: one gradient step a rollout, on a policy for filters and duration.

    Args:
        learning_rate: Of Adam.
        rollout_episodes: Episodes between two updates.
        gamma: Discount of later layers' rewards; an episode is short, so there need be none.
        gae_lambda: Of the advantages; 1 sums rewards, 0 trusts the value at once.
        ent_coef: Weight of the entropy, of bits and duration together.
        vf_coef: Weight of the value's loss.
        max_grad_norm: Gradients are clipped to it.
        hidden: Width of the networks.
        initial_keep: Share of filters that the untrained policy keeps. None: the one with which
            the environment's target is met, or 0.5 without one.
        initial_duration: Mean duration of the untrained policy.
        norm_prior: What one standard deviation of a filter's norm adds to its logit at first.
    """

    learning_rate: float = 3e-3
    rollout_episodes: int = 1
    gamma: float = 1.0
    gae_lambda: float = 0.9
    ent_coef: float = 1e-3
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    hidden: int = 64
    initial_keep: float | None = None
    initial_duration: float = 0.1
    norm_prior: float = 1.0

    def __post_init__(self) -> None:
        _check(self, ("rollout_episodes", "hidden"), ("learning_rate", "max_grad_norm"))


@dataclass(frozen=True)
class PPOOptions(A2COptions):
    """Of ``ppo``: those of :class:`A2COptions`, and several clipped passes over a rollout.

    Args:
        n_epochs: Passes over each rollout.
        minibatches: Gradient steps of a pass; divides ``rollout_episodes``.
        clip_range: Of the likelihood ratio.
    """

    rollout_episodes: int = 4
    n_epochs: int = 10
    minibatches: int = 4
    clip_range: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, ("n_epochs", "minibatches"), ("clip_range",))
        _check_minibatches(self.rollout_episodes, self.minibatches)


@dataclass(frozen=True)
class MaskablePPOOptions:
    """Of ``maskable_ppo``: a choice of two a filter, and one of a few durations.

    Args:
        learning_rate: See :class:`PPOOptions`, and so are the following.
        rollout_episodes: Episodes between two updates.
        n_epochs: Passes over each rollout.
        minibatches: Gradient steps of a pass.
        gamma: Discount.
        gae_lambda: Of the advantages.
        clip_range: Of the likelihood ratio.
        ent_coef: Weight of the entropy.
        vf_coef: Weight of the value's loss.
        max_grad_norm: Gradients are clipped to it.
        hidden: Width of the two layers of each network.
        initial_keep: As of :class:`A2COptions`.
        durations: How many durations there are (:class:`prune_gym.wrappers.MultiDiscreteAction`).
    """

    learning_rate: float = 1e-3
    rollout_episodes: int = 4
    n_epochs: int = 4
    minibatches: int = 4
    gamma: float = 1.0
    gae_lambda: float = 0.9
    clip_range: float = 0.2
    ent_coef: float = 0.0
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5
    hidden: int = 64
    initial_keep: float | None = None
    durations: int = 5

    def __post_init__(self) -> None:
        whole = ("rollout_episodes", "n_epochs", "minibatches", "hidden", "durations")
        _check(self, whole, ("learning_rate", "clip_range", "max_grad_norm"))
        _check_minibatches(self.rollout_episodes, self.minibatches)


@dataclass(frozen=True)
class OffPolicyOptions:
    """What ``sac``, ``td3`` and ``ddpg`` have in common: keep ratio and duration of a layer.

    Args:
        learning_rate: Of all optimizers.
        buffer_size: Transitions that the replay buffer holds.
        warmup_episodes: Of random actions, before anything is learnt.
        batch_size: Transitions of a gradient step.
        updates: Gradient steps for each step of the environment, made after each episode.
        tau: Share of the new in the target networks.
        gamma: Discount of later layers' rewards.
        hidden: Width of the two layers of each network.
        criterion: What ranks the filters (:class:`prune_gym.wrappers.KeepRatioAction`).
        least: Smallest keep ratio.
        duration: None, and it is learnt; or the duration of every step.
    """

    learning_rate: float = 3e-3
    buffer_size: int = 5000
    warmup_episodes: int = 10
    batch_size: int = 64
    updates: int = 2
    tau: float = 0.01
    gamma: float = 0.9
    hidden: int = 64
    criterion: str = "l1"
    least: float = 0.1
    duration: float | None = None

    def __post_init__(self) -> None:
        whole = ("buffer_size", "warmup_episodes", "batch_size", "updates", "hidden")
        _check(self, whole, ("learning_rate",))


@dataclass(frozen=True)
class SACOptions(OffPolicyOptions):
    """Of ``sac``: those of :class:`OffPolicyOptions`, and the entropy.

    Args:
        ent_coef: Weight of the entropy, or ``"auto"`` to learn it, or ``"auto_0.1"`` to learn it
            from 0.1 on.
    """

    learning_rate: float = 1e-3
    ent_coef: str | float = "auto_0.1"


@dataclass(frozen=True)
class TD3Options(OffPolicyOptions):
    """Of ``td3`` and ``ddpg``: those of :class:`OffPolicyOptions`, and the exploration.

    Args:
        actor_share: The actor's learning rate, as a share of ``learning_rate``.
        noise: Standard deviation of the noise on actions within [-1, 1].
    """

    actor_share: float = 0.1
    noise: float = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, (), ("actor_share", "noise"))


def _check_minibatches(episodes: int, minibatches: int) -> None:
    if episodes % minibatches:
        raise ValueError(f"minibatches={minibatches} must divide rollout_episodes={episodes}")
