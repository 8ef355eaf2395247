"""The two-player game: the task's optimiser and the autoencoders' take turns."""

from collections.abc import Callable

import torch
from torch import nn

from prune_gym.alf.convert import blocks
from prune_gym.data import Split
from prune_gym.training import Part, TrainingOptions, train

AUTOENCODER = ("encoder", "decoder", "mask")


def task_parameters(module: nn.Module) -> list[nn.Parameter]:
    """What the task's player trains: all but the autoencoders' own parameters."""
    own = {id(getattr(block, name)) for block in blocks(module).values() for name in AUTOENCODER}
    return [parameter for parameter in module.parameters() if id(parameter) not in own]


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
    """Train a network with blocks in place; the two players take turns at every mini-batch.

    The task's player descends the task's loss in all weights, W and W_exp of the blocks among
    them; then each block's autoencoder takes its ``options.updates`` steps
    (:meth:`prune_gym.alf.block.ALFConv2d.autoencoder_step`).

    Args:
        module: With :class:`prune_gym.alf.block.ALFConv2d` blocks; left in ``eval`` mode.
        split: Training images and labels.
        batches: Mini-batches of the task; 0 changes nothing.
        generator: Draws the images' order and augmentation.
        training: Of the task's player.
        teacher: As for :func:`prune_gym.training.train`.
        progress: Called behind both players' turns with the mini-batch's number and loss.
        part: What the task's player trains where it is not the whole network.
    """
    players = blocks(module).values()

    def autoencoders(batch: int, loss: float) -> None:
        for block in players:
            for _ in range(block.options.updates):
                block.autoencoder_step()
        if progress is not None:
            progress(batch, loss)

    part = part or Part(module, task_parameters(module))
    train(module, split, batches, generator, training, teacher, autoencoders, part)
