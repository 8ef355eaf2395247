"""Hyperparameters of AMC."""

from dataclasses import dataclass

from agents.common import checks
from prune_gym.errors import UnknownNameError

REWARDS = ("error", "error_macs", "return")


@dataclass(frozen=True)
class AMCOptions:
    """Hyperparameters. The defaults are the authors' unless marked otherwise.

    Args:
        warmup_episodes: Number of episodes of uniformly drawn ratios before learning starts.
        noise: Standard deviation of the truncated normal distribution around the actor's action.
        noise_decay: Factor of the noise after each later episode.
        hidden: Width of the two layers of actor and critic.
        actor_learning_rate: Learning rate of the actor's Adam.
        critic_learning_rate: Learning rate of the critic's Adam.
        batch_size: Number of transitions of a gradient step.
        updates: Number of gradient steps for each step of an episode, taken after the episode.
        memory: Largest number of transitions in the memory (this project's choice; the authors
            keep 100 a layer).
        tau: Step of the target networks towards the learned ones, 0 to 1.
        gamma: Discount.
        baseline_decay: Weight of the old value in the moving average of rewards.
        least: Smallest keep ratio.
        criterion: Criterion that ranks the filters
            (:data:`prune_gym.pruning.criteria.CRITERIA`).
        duration: Duration of each step's fine-tuning; AMC does not fine-tune during the search.
        reward: Reward of an episode, given to all its steps: ``"error"``, minus the share of wrong
            classes; ``"error_macs"``, that times the logarithm of the MACs; ``"return"``, the sum
            of the environment's rewards (this project's). None: ``"error"`` if the target bounds a
            cost, else ``"return"``.
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
        checks.whole(self, "warmup_episodes", "hidden", "batch_size", "updates", "memory")
        checks.positive(self, "noise", "actor_learning_rate", "critic_learning_rate")
        checks.share(self, "noise_decay", "tau", "gamma", "baseline_decay", "duration")
        if not 0 <= self.least < 1:
            raise ValueError(f"least={self.least} is not within [0, 1)")
        if self.reward is not None and self.reward not in REWARDS:
            raise UnknownNameError("reward", self.reward, REWARDS)
