"""What a surrogate sees of a state: what is kept, told from the unpruned network alone.

Nothing in it was measured after the start of an episode, so that the surrogate needs neither the
network nor its own earlier predictions, and its errors do not add up along an episode.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from numba import njit
from torch import nn

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.observation import filter_rows
from prune_gym.pruning import ChannelSpace

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
    """What is kept of each space, and the fine-tuning so far; a value, never changed.

    Args:
        shares: For each space of the episode and each of ``STATISTICS`` the kept share, 0 to 1,
            shape (spaces, statistics).
        position: How many spaces were visited.
        batches: Mini-batches of all steps.
        last_batches: Mini-batches of the last step.
    """

    shares: Array
    position: int = 0
    batches: int = 0
    last_batches: int = 0


class Features:
    """Makes feature vectors of the states of an episode. All statistics are this project's choice.

    For each space: the share of its filters that is kept (``count``), their share of the squared
    norms (``energy``), and the share of what the space passes on to the layers that read it which
    the kept filters can make up for by least squares (``rebuilt``): what is left behind a perfect
    repair. Then summaries over the spaces: sums of the logarithms, least and last shares; how
    many spaces were visited, and the mini-batches.

    Args:
        baseline: The unpruned network and its repair images.
        visited: The spaces that an episode walks through.
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
        """The unpruned network."""
        return KeptShares(np.ones((len(self.visited), len(STATISTICS))))

    def after(self, kept: KeptShares, mask: npt.NDArray[np.bool_], batches: int) -> KeptShares:
        """The state after a step.

        Args:
            kept: Before it.
            mask: The executed mask of the space at ``kept.position``, shape (channels,).
            batches: Mini-batches of fine-tuning.

        Returns:
            The state.
        """
        shares = kept.shares.copy()
        rebuilt = 1.0
        # Layers that read nothing but zeros lose nothing.
        if passed_on := self._passed_on[kept.position]:
            left = sum(_left(moments, weights, mask) for moments, weights in passed_on)
            rebuilt = max(0.0, 1.0 - left)
        energy = mask @ self._energy[kept.position]
        shares[kept.position] = np.count_nonzero(mask) / mask.size, energy, rebuilt
        return KeptShares(shares, kept.position + 1, kept.batches + batches, batches)

    def vector(self, kept: KeptShares) -> Array:
        """The features of a state, in the order of ``names``."""
        shares = kept.shares
        last = shares[max(kept.position - 1, 0)]
        counted = (kept.position / len(self.visited), kept.batches, kept.last_batches)
        return np.concatenate(
            [
                shares.ravel(),
                np.log(np.maximum(shares, 1e-6)).sum(0),
                shares.min(0),
                last,
                counted,
            ]
        )


def _energy(baseline: Baseline, space: ChannelSpace) -> Array:
    """Each filter's share of the squared norms of its space, shape (channels,)."""
    squares = filter_rows(baseline.module, space).double().square().sum(1).numpy()
    total = squares.sum()
    # Where all weights are zero each filter counts the same.
    return squares / total if total > 0 else np.full(len(squares), 1 / len(squares))


@torch.no_grad()
def _passed_on(baseline: Baseline, space: ChannelSpace) -> list[tuple[Array, Array]]:
    """What the layers that read a space get from it.

    Args:
        baseline: The unpruned network and its repair images.
        space: The space.

    Returns:
        For each such layer the second moments of what it reads, with a small ridge, and the inner
        products of the weights that read it, each of shape (channels, channels). Their
        elementwise product, summed up over all layers, adds up to 1; no layers where it is 0.
    """
    modules = dict(baseline.module.named_modules())
    layers = [modules[name] for name in space.consumers]
    read: list[torch.Tensor] = []
    result, total = [], 0.0
    for layer in layers:
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        handle = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            baseline.module(baseline.repair_images)
        finally:
            handle.remove()
        values = read.pop().cpu().double()
        by_channel = values.reshape(len(values), space.channels, -1).transpose(0, 1).flatten(1)
        moments = (by_channel @ by_channel.T / by_channel.shape[1]).numpy()
        weight = layer.weight.detach().cpu().double()
        columns = weight.reshape(len(weight), space.channels, -1).transpose(0, 1).flatten(1)
        weights = (columns @ columns.T).numpy()
        total += float((moments * weights).sum())
        ridge = RIDGE * np.trace(moments) / space.channels
        result.append((moments + ridge * np.eye(space.channels), weights))
    return [(moments, weights / total) for moments, weights in result] if total > 0 else []


@njit(cache=True, nogil=True)
def _left(moments: Array, weights: Array, mask: npt.NDArray[np.bool_]) -> float:
    """What the kept channels cannot make up for: the Schur complement of their moments, weighted.

    Args:
        moments: Positive definite, shape (channels, channels).
        weights: Shape (channels, channels).
        mask: Which channels are kept, shape (channels,).

    Returns:
        The sum over pairs of removed channels of what regression on the kept ones leaves.
    """
    order = np.concatenate((np.flatnonzero(mask), np.flatnonzero(~mask)))
    kept, channels = np.count_nonzero(mask), len(mask)
    rest = moments[order][:, order]
    # Gauss elimination of the kept channels on the upper triangle. The inner loop starts at 0,
    # so that the compiler sees that it never leaves the row, and vectorises it.
    for pivot in range(kept):
        for i in range(pivot + 1, channels):
            factor = rest[pivot, i] / rest[pivot, pivot]
            target, source = rest[i, i:], rest[pivot, i:]
            for j in range(channels - i):
                target[j] -= factor * source[j]
    left = 0.0
    for i in range(kept, channels):
        left += rest[i, i] * weights[order[i], order[i]]
        for j in range(i + 1, channels):
            left += 2 * rest[i, j] * weights[order[i], order[j]]
    return left
