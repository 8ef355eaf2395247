"""Features of a state for the surrogate, computed from the masks and the unpruned network.

No feature is measured during an episode, so the surrogate needs neither the pruned network nor its
earlier predictions, and its errors do not accumulate along an episode.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import nn

from prune_gym.batches import split_images
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.observation import filter_rows
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.rules import RULES, Conv, readers

Array = npt.NDArray[np.float64]
STATISTICS = ("count", "energy", "rebuilt")
RIDGE = 1e-4
SUMMARIES = (
    *(f"log_{name}" for name in STATISTICS),
    *(f"least_{name}" for name in STATISTICS),
    *(f"last_{name}" for name in STATISTICS),
    "position",
    "batches",
    "last_batches",
)


@dataclass(frozen=True)
class KeptShares:
    """The kept share of each space, and the fine-tuning so far.

    Args:
        shares: Kept share of each visited space for each of ``STATISTICS``, 0 to 1, shape
            (spaces, statistics).
        position: Number of spaces visited so far.
        batches: Mini-batches of all steps so far.
        last_batches: Mini-batches of the last step.
    """

    shares: Array
    position: int = 0
    batches: int = 0
    last_batches: int = 0


class Features:
    """Computes the feature vector of each state of an episode; this project's choice.

    There are three features for each space: the share of its filters that are kept (``count``), the
    share of the squared weights in them (``energy``), and the share of the consumers' squared
    outputs that they can reproduce by least squares (``rebuilt``), as after a perfect repair.
    Further features summarise the spaces (sum of the logarithms, minimum, and share of the last
    space) and count visited spaces and mini-batches.

    Args:
        baseline: Unpruned network with its repair images.
        visited: Spaces that an episode visits.

    Attributes:
        names: Names of the features, in the order of :meth:`vector`.
    """

    def __init__(self, baseline: Baseline, visited: tuple[ChannelSpace, ...]) -> None:
        self.visited = visited
        self._energy = [_energy(baseline, space) for space in visited]
        self._passed_on = [_passed_on(baseline, space) for space in visited]
        self.names = (
            *(f"{space.name}.{name}" for space in visited for name in STATISTICS),
            *SUMMARIES,
        )

    def start(self) -> KeptShares:
        """The shares of the unpruned network."""
        return KeptShares(np.ones((len(self.visited), len(STATISTICS))))

    def after(self, kept: KeptShares, mask: npt.NDArray[np.bool_], batches: int) -> KeptShares:
        """The shares after a step with a mask of the space at ``kept.position``."""
        shares = kept.shares.copy()
        rebuilt = 1.0
        # If the consumers read only zeros, nothing is lost.
        if passed_on := self._passed_on[kept.position]:
            lost = sum(_lost(moments, weights, mask) for moments, weights in passed_on)
            rebuilt = max(0.0, 1.0 - lost)
        energy = mask @ self._energy[kept.position]
        shares[kept.position] = np.count_nonzero(mask) / mask.size, energy, rebuilt
        return KeptShares(shares, kept.position + 1, kept.batches + batches, batches)

    def vector(self, kept: KeptShares) -> Array:
        """The feature vector of a state, in the order of :attr:`names`."""
        shares = kept.shares
        last = shares[max(kept.position - 1, 0)]
        counted = (kept.position / len(self.visited), kept.batches, kept.last_batches)
        logs = np.log(np.maximum(shares, 1e-6)).sum(0)
        return np.concatenate([shares.ravel(), logs, shares.min(0), last, counted])


def _energy(baseline: Baseline, space: ChannelSpace) -> Array:
    """Each filter's share of the squared norms of its space, shape (channels,)."""
    squares = filter_rows(baseline.module, space).double().square().sum(1).numpy()
    total = squares.sum()
    # If all weights are zero, every filter has the same share.
    return squares / total if total > 0 else np.full(len(squares), 1 / len(squares))


@torch.no_grad()
def _passed_on(baseline: Baseline, space: ChannelSpace) -> list[tuple[Array, Array]]:
    """Moments of what the consumers of a space read from it.

    For each consumer, the second moments of its inputs with a small ridge, and the inner products
    of the weights that read the inputs; shape (channels, channels) each. The sum of their
    elementwise products over all consumers is 1. If all inputs are zero, the list is empty.
    """
    modules = dict(baseline.module.named_modules())
    result, total = [], 0.0
    for name in space.consumers:
        layer = modules[name]
        if not isinstance(layer, Conv | nn.Linear):
            continue
        moments = _input_moments(baseline, space, name, layer)
        slots = space.slots(name, "in", RULES[type(layer)].slots(layer, "in"))
        columns = readers(layer).cpu().double()[slots].transpose(1, 2).flatten(1)
        weights = (columns @ columns.T).numpy()
        total += float((moments * weights).sum())
        ridge = RIDGE * np.trace(moments) / space.channels
        result.append((moments + ridge * np.eye(space.channels), weights))
    return [(moments, weights / total) for moments, weights in result] if total > 0 else []


def _input_moments(baseline: Baseline, space: ChannelSpace, name: str, layer: nn.Module) -> Array:
    """Second moments of a space's channels in the inputs of all calls of a consumer."""
    sums = torch.zeros(space.channels, space.channels, dtype=torch.float64)
    count = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        nonlocal sums, count
        values = inputs[0].cpu().double()
        # Features of a dense layer are in the last dimension, channels in dimension 1.
        values = values.movedim(-1 if isinstance(layer, nn.Linear) else 1, 1)
        slots = space.slots(name, "in", values.shape[1])
        by_channel = values[:, slots].transpose(0, 1).flatten(1)
        sums += by_channel @ by_channel.T
        count += by_channel.shape[1]

    handle = layer.register_forward_pre_hook(add)
    try:
        for part in split_images(baseline.repair_images, len(baseline.repair_images)):
            baseline.module(part)
    finally:
        handle.remove()
    moments: Array = (sums / max(count, 1)).numpy()
    return moments


@njit(cache=True, nogil=True)
def _lost(moments: Array, weights: Array, mask: npt.NDArray[np.bool_]) -> float:
    """The share of a consumer's squared outputs that the kept channels cannot reproduce.

    It is the weighted sum of the Schur complement of the kept channels' moments: the moments of
    the removed channels that remain after a regression on the kept channels.
    """
    order = np.concatenate((np.flatnonzero(mask), np.flatnonzero(~mask)))
    kept, channels = np.count_nonzero(mask), len(mask)
    rest = moments[order][:, order]
    # Gaussian elimination of the kept channels on the upper triangle. The inner loop starts at 0,
    # so that the compiler recognises that it stays within the row, and vectorises it.
    for pivot in range(kept):
        for i in range(pivot + 1, channels):
            factor = rest[pivot, i] / rest[pivot, pivot]
            target, source = rest[i, i:], rest[pivot, i:]
            for j in range(channels - i):
                target[j] -= factor * source[j]
    lost = 0.0
    for i in range(kept, channels):
        lost += rest[i, i] * weights[order[i], order[i]]
        for j in range(i + 1, channels):
            lost += 2 * rest[i, j] * weights[order[i], order[j]]
    return lost
