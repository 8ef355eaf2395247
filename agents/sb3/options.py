"""Hyperparameters of the agents that learn by Stable-Baselines3.

Options that Stable-Baselines3 has too keep its names. Numbers of steps are numbers of episodes
here, because an episode has one step a layer. The defaults are this project's choice.
"""

from dataclasses import dataclass, fields
from typing import Any


def _check(options: Any, whole: tuple[str, ...], positive: tuple[str, ...]) -> None:
    """Raise a ValueError for an option that is out of range."""
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
    """Options of ``a2c``: one gradient step for each rollout.

    Args:
        learning_rate: Learning rate of Adam.
        rollout_episodes: Number of episodes between two updates.
        gamma: Discount of later layers' rewards; episodes are short, so the default has none.
        gae_lambda: Lambda of the advantages; 1 sums rewards, 0 relies on the value.
        ent_coef: Weight of the joint entropy of bits and duration.
        vf_coef: Weight of the value's loss.
        max_grad_norm: Largest norm of the gradients, to which they are clipped.
        hidden: Width of the networks.
        initial_keep: Keep ratio of the untrained policy. None: the ratio that meets the
            environment's target, or 0.5 without a target.
        initial_duration: Mean duration of the untrained policy.
        norm_prior: Number that one standard deviation of a filter's norm adds to the filter's
            logit at first.
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
    """Options of ``ppo``: those of :class:`A2COptions`, and several clipped passes.

    Args:
        n_epochs: Number of passes over each rollout.
        minibatches: Number of gradient steps of a pass; it divides ``rollout_episodes``.
        clip_range: Clip range of the likelihood ratio.
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
    """Options of ``maskable_ppo``: a choice of two for each filter, and one of a few durations.

    Args:
        learning_rate: Learning rate of Adam.
        rollout_episodes: Number of episodes between two updates.
        n_epochs: Number of passes over each rollout.
        minibatches: Number of gradient steps of a pass; it divides ``rollout_episodes``.
        gamma: Discount of later layers' rewards.
        gae_lambda: Lambda of the advantages.
        clip_range: Clip range of the likelihood ratio.
        ent_coef: Weight of the entropy.
        vf_coef: Weight of the value's loss.
        max_grad_norm: Largest norm of the gradients, to which they are clipped.
        hidden: Width of the two layers of each network.
        initial_keep: Keep ratio of the untrained policy; see :class:`A2COptions`.
        durations: Number of durations (:class:`prune_gym.wrappers.MultiDiscreteAction`).
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
    """Options that ``sac``, ``td3`` and ``ddpg`` share; they choose keep ratio and duration.

    Args:
        learning_rate: Learning rate of all optimizers.
        buffer_size: Capacity of the replay buffer, in transitions.
        warmup_episodes: Number of episodes of random actions before learning starts.
        batch_size: Number of transitions of a gradient step.
        updates: Number of gradient steps for each step of the environment, taken after each
            episode.
        tau: Step of the target networks towards the learned ones, 0 to 1.
        gamma: Discount of later layers' rewards.
        hidden: Width of the two layers of each network.
        criterion: Criterion that ranks the filters
            (:class:`prune_gym.wrappers.KeepRatioAction`).
        least: Smallest keep ratio.
        duration: Duration of every step. None: the agent learns it.
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
    """Options of ``sac``: those of :class:`OffPolicyOptions`, and the entropy's weight.

    Args:
        ent_coef: Weight of the entropy; ``"auto"`` learns it, ``"auto_0.1"`` learns it from a start
            at 0.1.
    """

    learning_rate: float = 1e-3
    ent_coef: str | float = "auto_0.1"


@dataclass(frozen=True)
class TD3Options(OffPolicyOptions):
    """Options of ``td3`` and ``ddpg``: those of :class:`OffPolicyOptions`, and the exploration.

    Args:
        actor_share: Learning rate of the actor, as a share of ``learning_rate``.
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
