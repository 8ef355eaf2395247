"""What a surrogate sees of a state: what is kept, told from the unpruned network alone.

Nothing in it was measured behind the start of an episode, so that the surrogate needs neither the
network nor its own earlier predictions, and its errors do not add up along an episode.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from prune_gym.envs.observation import filter_rows
from prune_gym.envs.task import Task
from prune_gym.surgery import ChannelSpace

Array = npt.NDArray[np.float64]
STATISTICS = ("count", "energy", "activation", "flow")
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
    squared norms (``energy``), of the mean activations (``activation``), and of activation times
    the norm of the weights that read the filter (``flow``), an estimate of what it passes on.
    Then summaries over the spaces: sums of the logarithms, least and last shares; how many spaces
    were visited, and the mini-batches.

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
    modules = dict(task.module.named_modules())
    rows = filter_rows(task.module, space).double().numpy()
    activation = task.baseline_activations[space.name].astype(np.float64)
    read = np.zeros(space.channels)
    for name in space.consumers:
        weight = getattr(modules[name], "weight", None)
        if isinstance(modules[name], nn.Conv2d | nn.Linear) and weight is not None:
            by_channel = weight.detach().cpu().double().numpy()
            by_channel = by_channel.reshape(len(by_channel), space.channels, -1)
            read += np.square(by_channel).sum(axis=(0, 2))
    columns = (
        np.ones(space.channels),
        np.square(rows).sum(1),
        activation,
        activation * np.sqrt(read),
    )
    # A statistic that is zero for all filters tells nothing: each counts the same.
    return np.stack(
        [c / c.sum() if c.sum() > 0 else np.full(len(c), 1 / len(c)) for c in columns], axis=1
    )
