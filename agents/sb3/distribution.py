"""The exact joint distribution of a layer's bits and the duration, for Stable-Baselines3."""

import math

import torch
from stable_baselines3.common.distributions import Distribution
from torch import Tensor, nn
from torch.distributions import Beta
from torch.nn import functional

# The Beta density is finite within these bounds, and in float32 1 - BOUND differs from 1.
BOUND = 1e-6
LOG_TWO = math.log(2)


class HybridDistribution(Distribution):
    """Independent Bernoulli bits, one a filter, and a Beta-distributed duration.

    Actions are those of :class:`prune_gym.wrappers.FlatBoxAction`, shape (batch, n_max + 1): 1 for
    a filter that stays, -1 for one that is removed, and twice the duration minus 1 last. They lie
    within the Box, so that clipping them before ``env.step`` changes nothing, and the rollout
    buffer stores the executed action. The probability of an action is a mass for the bits times a
    density over the last entry.

    Padded bits are -1 and do not count in probability and entropy. The Beta distribution (Chou et
    al. 2017, "Improving Stochastic Policy Gradients in Continuous Control with Deep Reinforcement
    Learning using the Beta Distribution") needs no truncation, and its density and entropy have a
    closed form. Both of its parameters are above 1, so it has one mode and is 0 at the bounds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logits = self.valid = torch.empty(0)
        self.beta = Beta(torch.ones(1), torch.ones(1))

    def proba_distribution_net(self, net: nn.Module) -> nn.Module:
        """Return ``net``, which computes the arguments of :meth:`proba_distribution`."""
        return net

    def proba_distribution(
        self, logits: Tensor, concentrations: Tensor, valid: Tensor
    ) -> "HybridDistribution":
        """Set the parameters.

        Args:
            logits: Logits of keeping each filter, shape (batch, n_max).
            concentrations: Two parameters of the Beta distribution, each above 1, shape (batch, 2).
            valid: Mask of the filters, False in the padding, shape (batch, n_max).
        """
        self.logits, self.valid = logits, valid
        self.beta = Beta(concentrations[:, 0], concentrations[:, 1], validate_args=False)
        return self

    def log_prob(self, actions: Tensor) -> Tensor:
        """Return the log of the bits' mass times the last entry's density, shape (batch,)."""
        bits = (actions[:, :-1] > 0).to(self.logits.dtype)
        each = bits * self.logits - functional.softplus(self.logits)
        duration = ((actions[:, -1] + 1) / 2).clamp(BOUND, 1 - BOUND)
        return self._of_filters(each) + self.beta.log_prob(duration) - LOG_TWO

    def entropy(self) -> Tensor:
        """Return the bits' entropy plus the last entry's differential entropy, shape (batch,)."""
        keep = torch.sigmoid(self.logits)
        each = functional.softplus(self.logits) - keep * self.logits
        return self._of_filters(each) + self.beta.entropy() + LOG_TWO

    def sample(self) -> Tensor:
        """Draw actions, shape (batch, n_max + 1); no gradient flows through them."""
        with torch.no_grad():
            bits = torch.rand_like(self.logits) < torch.sigmoid(self.logits)
            return self._actions(bits, self.beta.sample())

    def mode(self) -> Tensor:
        """Return the most likely bits and the mean duration, shape (batch, n_max + 1)."""
        return self._actions(self.logits > 0, self.beta.mean)

    def actions_from_params(
        self, logits: Tensor, concentrations: Tensor, valid: Tensor, deterministic: bool = False
    ) -> Tensor:
        """Set the parameters (:meth:`proba_distribution`) and draw actions."""
        return self.proba_distribution(logits, concentrations, valid).get_actions(deterministic)

    def log_prob_from_params(
        self, logits: Tensor, concentrations: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Set the parameters, draw actions and return them with their log-probabilities."""
        actions = self.actions_from_params(logits, concentrations, valid)
        return actions, self.log_prob(actions)

    def _of_filters(self, each: Tensor) -> Tensor:
        return torch.where(self.valid, each, torch.zeros_like(each)).sum(1)

    def _actions(self, bits: Tensor, duration: Tensor) -> Tensor:
        scores = torch.where(bits & self.valid, 1.0, -1.0).to(self.logits.dtype)
        last = 2 * duration.clamp(BOUND, 1 - BOUND) - 1
        return torch.cat([scores, last[:, None]], dim=1)
