"""L2PF's policy, and the actions drawn from it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal

from agents.base import Action
from agents.common.filters import Inputs
from agents.common.keep_ratio import DEFAULT_KEEP
from agents.l2pf.options import L2PFOptions


class FilterPolicy(nn.Module):
    """A small network applied to every filter of a layer, with two heads.

    A filter's row and the layer's features are encoded, and the mean over the filters is the
    layer's summary. Each filter's logit depends on its own code and the summary, the duration on
    the summary. So the same weights serve layers of any width, and padding changes nothing.

    Args:
        row: Length of a filter's row.
        layer: Number of layer features.
        options: Hyperparameters: the width, and how the untrained policy acts.
    """

    def __init__(self, row: int, layer: int, options: L2PFOptions) -> None:
        super().__init__()
        hidden = options.hidden
        self.encode = nn.Sequential(nn.Linear(row + layer, hidden), nn.ReLU())
        self.keep = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.duration = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.prior = nn.Parameter(torch.tensor(float(options.norm_prior)))
        keep = torch.logit(torch.tensor([options.initial_keep or DEFAULT_KEEP]))
        keep = keep * logit_scale(options.norm_prior)
        duration = torch.tensor([options.initial_duration, options.initial_spread]).log()
        for head, bias in ((self.keep, keep), (self.duration, duration)):
            last = head[-1]
            assert isinstance(last, nn.Linear)
            # With zero weights, the untrained policy acts as the options say in every layer.
            nn.init.zeros_(last.weight)
            last.bias.data.copy_(bias)

    def forward(self, inputs: Inputs) -> tuple[Bernoulli, Normal]:
        """Return the distributions of one layer's action.

        Returns:
            Bernoulli distributions of the filters, shape (n_max,), and the normal distribution of
            the duration's logarithm.
        """
        layer = inputs.layer.expand(len(inputs.rows), -1)
        code = self.encode(torch.cat([inputs.rows, layer], dim=1))
        summary = code[inputs.valid].mean(dim=0)
        both = torch.cat([code, summary.expand_as(code)], dim=1)
        logits = self.keep(both).squeeze(1) + self.prior * inputs.norms + inputs.shift
        mean, log_spread = self.duration(summary)
        return Bernoulli(logits=logits), Normal(mean, log_spread.clamp(-3, 1).exp())


def logit_scale(norm_prior: float) -> float:
    """Return the factor of a keep ratio's logit with which a layer keeps this ratio on average.

    The norms add a spread to the logits, which pulls the mean probability towards one half. The
    mean of a sigmoid over a normal distribution is approximated as in MacKay (1992, "The evidence
    framework applied to classification networks").

    Args:
        norm_prior: Standard deviation of the logits within a layer.
    """
    return math.sqrt(1 + math.pi * norm_prior**2 / 8)


@dataclass(frozen=True)
class Draw:
    """An action that was drawn for one layer.

    Args:
        inputs: Inputs of the policy.
        bits: Filters that stay, boolean, shape (n_max,).
        log_duration: Logarithm of the duration, a scalar.
    """

    inputs: Inputs
    bits: Tensor
    log_duration: Tensor

    def action(self) -> Action:
        """Return the action in the environment's form; durations above 1 become 1."""
        duration = np.array([min(1.0, float(self.log_duration.exp()))], np.float32)
        return {"mask": self.bits.numpy().astype(np.int8), "duration": duration}
