"""What a surrogate sees of a state: what is kept, told from the unpruned network alone.

Nothing in it was measured behind the start of an episode, so that the surrogate needs neither the
network nor its own earlier predictions, and its errors do not add up along an episode.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from prune_gym.envs.observation import filter_rows
from prune_gym.envs.task import Task
from prune_gym.surgery import ChannelSpace

Array = npt.NDArray[np.float64]
STATISTICS = ("count", "energy", "activation", "flow", "unique")
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
class Kept:
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
    """Makes feature vectors of the states of one task. All statistics are this project's choice.

    For each space: the share of its filters that is kept (``count``), and their share of the
    squared norms (``energy``), of the mean activations (``activation``), of activation times the
    norm of the weights that read the filter (``flow``), an estimate of what it passes on, and of
    the part of it that the other filters cannot stand in for (``unique``), which is what a repair
    by least squares cannot bring back. Then summaries over the spaces: sums of the logarithms,
    least and last shares; how many spaces were visited, and the mini-batches.

    Args:
        task: The unpruned network and its activations.
        visited: The spaces that an episode walks through.
    """

    def __init__(self, task: Task, visited: tuple[ChannelSpace, ...]) -> None:
        self.visited = visited
        self._weights = [_statistics(task, space) for space in visited]
        self.names = (
            *(f"{space.name}.{name}" for space in visited for name in STATISTICS),
            *SUMMARIES,
        )

    def start(self) -> Kept:
        """The unpruned network."""
        return Kept(np.ones((len(self.visited), len(STATISTICS))))

    def after(self, kept: Kept, mask: npt.NDArray[np.bool_], batches: int) -> Kept:
        """The state behind a step.

        Args:
            kept: Before it.
            mask: The executed mask of the space at ``kept.position``, shape (channels,).
            batches: Mini-batches of fine-tuning.

        Returns:
            The state.
        """
        shares = kept.shares.copy()
        shares[kept.position] = mask @ self._weights[kept.position]
        return Kept(shares, kept.position + 1, kept.batches + batches, batches)

    def vector(self, kept: Kept) -> Array:
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


def _statistics(task: Task, space: ChannelSpace) -> Array:
    """Each filter's share of every statistic of its space, shape (channels, statistics)."""
    rows = filter_rows(task.module, space).double().numpy()
    activation = task.baseline_activations[space.name].astype(np.float64)
    read, unique = np.zeros(space.channels), np.zeros(space.channels)
    for weights, moments in _consumers(task, space):
        read += weights
        # 1 / (M^-1)_ii is what regression on all other channels leaves of channel i.
        ridge = RIDGE * np.trace(moments) / space.channels + np.finfo(float).tiny
        inverse = np.linalg.inv(moments + ridge * np.eye(space.channels))
        unique += weights / np.diag(inverse)
    columns = (
        np.ones(space.channels),
        np.square(rows).sum(1),
        activation,
        activation * np.sqrt(read),
        unique,
    )
    # A statistic that is zero for all filters tells nothing: each counts the same.
    return np.stack(
        [c / c.sum() if c.sum() > 0 else np.full(len(c), 1 / len(c)) for c in columns], axis=1
    )


@torch.no_grad()
def _consumers(task: Task, space: ChannelSpace) -> list[tuple[Array, Array]]:
    """What the layers that read a space do with it.

    Args:
        task: The unpruned network and its repair images.
        space: The space.

    Returns:
        For each consumer with weights the squared norms of those that read each channel, shape
        (channels,), and the second moments of what it reads, shape (channels, channels).
    """
    modules = dict(task.module.named_modules())
    read: list[torch.Tensor] = []
    result = []
    for name in space.consumers:
        module = modules[name]
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        handle = module.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
        try:
            task.module(task.repair_images)
        finally:
            handle.remove()
        values = read.pop().cpu().double()
        by_channel = values.reshape(len(values), space.channels, -1).transpose(0, 1).flatten(1)
        weight = module.weight.detach().cpu().double()
        squares = weight.reshape(len(weight), space.channels, -1).square().sum(dim=(0, 2))
        moments = by_channel @ by_channel.T / by_channel.shape[1]
        result.append((squares.numpy(), moments.numpy()))
    return result
