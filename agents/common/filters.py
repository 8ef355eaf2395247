"""Observations as tensors with one row a filter, for policies that decide filter by filter."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from agents.base import Observation

EPSILON = 1e-6
_NOT_FILTERS = ("action_mask", "layer", "progress")


@dataclass(frozen=True)
class Inputs:
    """Inputs of a policy.

    Args:
        rows: Numbers that describe each filter, shape (n_max, row).
        norms: Standardised norms of the filters, 0 in the padding, shape (n_max,).
        layer: Features of the layer, shape (layer,).
        valid: Mask of the layer's filters, False in the padding, shape (n_max,).
        shift: Number that the policy adds to every filter's logit.
    """

    rows: Tensor
    norms: Tensor
    layer: Tensor
    valid: Tensor
    shift: float = 0.0


class Reader:
    """Converts observations of a pruning environment to :class:`Inputs`.

    Entries whose length is a multiple of n_max describe the filters; ``layer`` describes the
    layer.

    Args:
        space: Observation space of the environment.

    Attributes:
        width: n_max.
        row: Length of a filter's row.
        layer: Number of layer features.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        assert isinstance(space, spaces.Dict)
        sizes = {key: entry.shape[0] for key, entry in space.spaces.items() if entry.shape}
        self.width, self.layer = sizes["action_mask"], sizes["layer"]
        self._keys = [
            key for key, size in sizes.items() if key not in _NOT_FILTERS and size % self.width == 0
        ]
        self.row = sum(sizes[key] // self.width for key in self._keys)

    def __call__(self, observation: Observation, shift: float = 0.0) -> Inputs:
        """Convert an observation; ``shift`` is added to every filter's logit."""
        valid = torch.from_numpy(np.asarray(observation["action_mask"]).astype(bool))
        columns = [
            torch.from_numpy(np.asarray(observation[key])).float().reshape(len(valid), -1)
            for key in self._keys
        ]
        rows = torch.cat(columns, dim=1)
        known = observation.get("l2")
        size = rows.abs().sum(1) if known is None else torch.from_numpy(np.asarray(known))
        kept = size[valid]
        norms = (size - kept.mean()) / kept.std(unbiased=False).clamp_min(EPSILON)
        layer = torch.from_numpy(np.asarray(observation["layer"])).float()
        return Inputs(rows, norms * valid, layer, valid, shift)


def normalised(rewards: Tensor) -> Tensor:
    """Scale the candidates' rewards to zero mean and unit variance; zeros if all are equal."""
    spread = rewards.std(unbiased=False)
    if spread < EPSILON:
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / spread
