"""Hyperparameters of the agents that learn by Stable-Baselines3.

Options that Stable-Baselines3 has too keep its names. Numbers of steps are numbers of episodes
here, because an episode has one step a layer. The defaults are this project's choice.
"""

from dataclasses import dataclass

from agents.common import checks


@dataclass(frozen=True)
class OnPolicyOptions:
    """Options that ``a2c``, ``ppo`` and ``maskable_ppo`` share.

    Args:
        learning_rate: Learning rate of Adam.
        rollout_episodes: Number of episodes between two updates.
        gamma: Discount of later layers' rewards; episodes are short, so the default has none.
        gae_lambda: Lambda of the advantages; 1 sums rewards, 0 relies on the value.
        ent_coef: Weight of the policy's entropy.
        vf_coef: Weight of the value's loss.
        max_grad_norm: Largest norm of the gradients, to which they are clipped.
        hidden: Width of the networks.
        initial_keep: Keep ratio of the untrained policy. None: the ratio that meets the
            environment's target, or 0.5 without a target.
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

    def __post_init__(self) -> None:
        checks.whole(self, "rollout_episodes", "hidden")
        checks.positive(self, "learning_rate", "max_grad_norm")
        checks.share(self, "gamma", "gae_lambda")
        checks.between(self, "initial_keep")


@dataclass(frozen=True)
class A2COptions(OnPolicyOptions):
    """Options of ``a2c``: one gradient step for each rollout.

    Args:
        initial_duration: Mean duration of the untrained policy.
        norm_prior: Number that one standard deviation of a filter's norm adds to the filter's
            logit at first.
    """

    initial_duration: float = 0.1
    norm_prior: float = 1.0


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
        _check_passes(self)


@dataclass(frozen=True)
class MaskablePPOOptions(OnPolicyOptions):
    """Options of ``maskable_ppo``: a choice of two for each filter, and one of a few durations.

    Args:
        n_epochs: Number of passes over each rollout.
        minibatches: Number of gradient steps of a pass; it divides ``rollout_episodes``.
        clip_range: Clip range of the likelihood ratio.
        durations: Number of durations (:class:`prune_gym.wrappers.MultiDiscreteAction`).
    """

    learning_rate: float = 1e-3
    rollout_episodes: int = 4
    ent_coef: float = 0.0
    n_epochs: int = 4
    minibatches: int = 4
    clip_range: float = 0.2
    durations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_passes(self)
        checks.whole(self, "durations")


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
        checks.whole(self, "buffer_size", "warmup_episodes", "batch_size", "updates", "hidden")
        checks.positive(self, "learning_rate")
        checks.share(self, "gamma", "tau")


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
        checks.positive(self, "actor_share", "noise")


def _check_passes(options: PPOOptions | MaskablePPOOptions) -> None:
    checks.whole(options, "n_epochs", "minibatches")
    checks.positive(options, "clip_range")
    if options.rollout_episodes % options.minibatches:
        raise ValueError(
            f"minibatches={options.minibatches} must divide "
            f"rollout_episodes={options.rollout_episodes}"
        )
