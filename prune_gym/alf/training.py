"""Training of a network with ALF blocks: the common training loop with the two-player optimiser."""

from collections.abc import Callable

import torch
from torch import nn

from prune_gym.alf.players import TwoPlayers, task_parameters
from prune_gym.data import Split
from prune_gym.training import Part, TrainingOptions, train


def two_player_train(
    module: nn.Module,
    split: Split,
    batches: int,
    generator: torch.Generator,
    training: TrainingOptions,
    teacher: nn.Module | None = None,
    progress: Callable[[int, float], None] | None = None,
    part: Part | None = None,
) -> None:
    """Train a network with ALF blocks in place, with the optimiser :class:`TwoPlayers`.

    Args:
        module: Module with :class:`prune_gym.alf.block.ALFConv2d` blocks; it is in ``eval`` mode
            afterwards.
        split: Training images and labels.
        batches: Number of mini-batches of the task player; 0 changes nothing.
        generator: Random generator (CPU) of the image order and the augmentation.
        training: Training options of the task player.
        teacher: See :func:`prune_gym.training.train`.
        progress: Function that is called after each mini-batch with its number and loss.
        part: Part of the network that the task player trains; None for the whole network.
    """
    part = part or Part(module, task_parameters(module))
    players = TwoPlayers(module, training, part.parameters)
    train(module, split, batches, generator, training, teacher, progress, part, players)
