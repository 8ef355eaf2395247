"""What a policy of filters sees, and L2PF's policy."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal

from agents.base import Observation
from agents.l2pf.options import L2PFOptions
from agents.start import DEFAULT_KEEP

EPSILON = 1e-6
_NOT_FILTERS = ("action_mask", "layer", "progress")


@dataclass(frozen=True)
class Inputs:
    """An observation as a policy takes it.

    Args:
        rows: What describes each filter, shape (n_max, row).
        norms: Standardised norms of the filters, 0 in the padding, shape (n_max,).
        layer: What describes the layer, shape (layer,).
        valid: False in the padding, shape (n_max,).
        shift: Added to every filter's logit.
    """

    rows: Tensor
    norms: Tensor
    layer: Tensor
    valid: Tensor
    shift: float = 0.0


class Reader:
    """Reads observations of a pruning environment as tensors.

    What holds so many numbers for each filter describes the filters; ``layer`` the layer.

    Args:
        space: The environment's observation space.

    Attributes:
        width: n_max.
        row: Entries of a filter's row.
        layer: Layer features.
    """

    def __init__(self, space: spaces.Space) -> None:
        assert isinstance(space, spaces.Dict)
        entries: dict[str, Any] = dict(space.spaces)
        sizes = {key: entry.shape[0] for key, entry in entries.items()}
        self.width, self.layer = sizes["action_mask"], sizes["layer"]
        self._keys = [
            key for key, size in sizes.items() if key not in _NOT_FILTERS and size % self.width == 0
        ]
        self.row = sum(sizes[key] // self.width for key in self._keys)

    def __call__(self, observation: Observation, shift: float = 0.0) -> Inputs:
        """An observation as tensors.

        Args:
            observation: Of the space.
            shift: As for :class:`Inputs`.
        """
        valid = torch.from_numpy(np.asarray(observation["action_mask"]).astype(bool))
        columns = [
            torch.from_numpy(np.asarray(observation[key])).float().reshape(len(valid), -1)
            for key in self._keys
        ]
        rows = torch.cat(columns, dim=1)
        size = (
            rows.abs().sum(1)
            if "l2" not in observation
            else torch.from_numpy(np.asarray(observation["l2"]))
        )
        kept = size[valid]
        norms = (size - kept.mean()) / kept.std(unbiased=False).clamp_min(EPSILON)
        layer = torch.from_numpy(np.asarray(observation["layer"])).float()
        return Inputs(rows, norms * valid, layer, valid, shift)


class FilterPolicy(nn.Module):
    """A small network that every filter of a layer goes through, with two heads.

    A filter's row and the layer's features are encoded; the mean over the filters is the layer's
    summary; each filter's logit sees its own code and the summary, the duration the summary.
    So the same weights serve layers of any width, and padding changes nothing.

    Args:
        row: Entries of a filter's row.
        layer: Layer features.
        options: Width and the untrained policy.
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
            # At first the heads say the same of every layer: what the options ask for.
            nn.init.zeros_(last.weight)
            last.bias.data.copy_(bias)

    def forward(self, inputs: Inputs) -> tuple[Bernoulli, Normal]:
        """The distributions of one layer's action.

        Returns:
            Bernoullis over the filters, shape (n_max,), and the normal of the log-duration.
        """
        layer = inputs.layer.expand(len(inputs.rows), -1)
        code = self.encode(torch.cat([inputs.rows, layer], dim=1))
        summary = code[inputs.valid].mean(dim=0)
        both = torch.cat([code, summary.expand_as(code)], dim=1)
        logits = self.keep(both).squeeze(1) + self.prior * inputs.norms + inputs.shift
        mean, log_spread = self.duration(summary)
        return Bernoulli(logits=logits), Normal(mean, log_spread.clamp(-3, 1).exp())


def logit_scale(norm_prior: float) -> float:
    """What a share's logit is multiplied by, so that a layer keeps this share in the mean.

    The norms add a spread to the logits, which draws the mean of the probabilities towards a half;
    the mean of a sigmoid over a normal is close to that of MacKay (1992, "The evidence framework
    applied to classification networks").

    Args:
        norm_prior: Standard deviation of the logits within a layer.
    """
    return math.sqrt(1 + math.pi * norm_prior**2 / 8)


def normalised(rewards: Tensor) -> Tensor:
    """Rewards of candidates at zero mean and unit variance; zeros where all are equal."""
    spread = rewards.std(unbiased=False)
    if spread < EPSILON:
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / spread
