"""Hyperparameters of AMC."""

from dataclasses import dataclass

from prune_gym.errors import UnknownNameError

REWARDS = ("error", "error_macs", "return")


@dataclass(frozen=True)
class AMCOptions:
    """Hyperparameters; the defaults are the authors' unless it says otherwise.

    Args:
        warmup_episodes: Of uniformly drawn ratios, before anything is learned.
        noise: Standard deviation of the truncated normal around the actor's action.
        noise_decay: What it is multiplied by after each later episode.
        hidden: Width of the two layers of actor and critic.
        actor_learning_rate: Of Adam.
        critic_learning_rate: Of Adam.
        batch_size: Transitions of a gradient step.
        updates: Gradient steps for each step of an episode, made after it.
        memory: Transitions that are remembered (this project's choice; theirs: 100 a layer).
        tau: Share of the new in the slow copies.
        gamma: Discount.
        baseline_decay: Share of the old in the moving average of rewards.
        least: Smallest keep ratio.
        criterion: What ranks the filters (:data:`prune_gym.pruning.criteria.CRITERIA`).
        duration: Fine-tuning of each step; AMC has none inside the search.
        reward: Of a whole episode, given to all its steps: ``"error"``, minus the share of wrong
            classes; ``"error_macs"``, that times the logarithm of the MACs; ``"return"``, the sum
            of the environment's rewards (this project's). None: ``"error"`` where a cost is
            wanted, else ``"return"``.
    """

    warmup_episodes: int = 100
    noise: float = 0.5
    noise_decay: float = 0.95
    hidden: int = 300
    actor_learning_rate: float = 1e-4
    critic_learning_rate: float = 1e-3
    batch_size: int = 64
    updates: int = 1
    memory: int = 2000
    tau: float = 0.01
    gamma: float = 1.0
    baseline_decay: float = 0.5
    least: float = 0.2
    criterion: str = "l1"
    duration: float = 0.0
    reward: str | None = None

    def __post_init__(self) -> None:
        for name in ("warmup_episodes", "hidden", "batch_size", "updates", "memory"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r} must be a whole number above 0")
        for name in ("noise", "actor_learning_rate", "critic_learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        for name in ("noise_decay", "tau", "gamma", "baseline_decay", "duration"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} is not within [0, 1]")
        if not 0 <= self.least < 1:
            raise ValueError(f"least={self.least} is not within [0, 1)")
        if self.reward is not None and self.reward not in REWARDS:
            raise UnknownNameError("reward", self.reward, REWARDS)
