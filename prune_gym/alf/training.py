"""Training a network with blocks: the loop of every training, with two players in it."""

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
    """Train a network with blocks in place; at every mini-batch :class:`TwoPlayers` take turns.

    Args:
        module: With :class:`prune_gym.alf.block.ALFConv2d` blocks; left in ``eval`` mode.
        split: Training images and labels.
        batches: Mini-batches of the task; 0 changes nothing.
        generator: Draws the images' order and augmentation.
        training: Of the task's player.
        teacher: As for :func:`prune_gym.training.train`.
        progress: Called after both players' turns with the mini-batch's number and loss.
        part: What the task's player trains where it is not the whole network.
    """
    part = part or Part(module, task_parameters(module))
    players = TwoPlayers(module, training, part.parameters)
    train(module, split, batches, generator, training, teacher, progress, part, players)
