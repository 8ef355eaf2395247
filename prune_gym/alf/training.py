"""Two-player training: the task and the autoencoders of the ALF blocks alternate."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from prune_gym.alf.convert import blocks
from prune_gym.data import Normalization, Split
from prune_gym.training import Part, Sgd, TrainingOptions, train

AUTOENCODER = ("encoder", "decoder", "mask")


def task_parameters(module: nn.Module) -> list[nn.Parameter]:
    """Parameters that the task player trains: all except those of the autoencoders."""
    own = {id(getattr(block, name)) for block in blocks(module).values() for name in AUTOENCODER}
    return [parameter for parameter in module.parameters() if id(parameter) not in own]


class TwoPlayers:
    """Optimiser in which the task player and the autoencoder player alternate.

    In this project's formulation, with the task loss L and the autoencoder loss L_ae of a block,
    each mini-batch consists of::

        W, W_exp, ...    <-  SGD with momentum on dL/dW, dL/dW_exp, ...        once
        W_enc, W_dec, M  <-  SGD on dL_ae/dW_enc, dL_ae/dW_dec, dL_ae/dM       ``updates`` times

    Neither loss has a gradient with respect to the other player's weights. The class implements
    :class:`prune_gym.training.Optimizer`.

    Args:
        module: Module with :class:`prune_gym.alf.block.ALFConv2d` blocks, which hold the options
            of the autoencoders.
        options: Momentum and weight decay of the task player.
        parameters: Parameters of the task player; None for :func:`task_parameters`.
    """

    def __init__(
        self,
        module: nn.Module,
        options: TrainingOptions,
        parameters: Sequence[nn.Parameter] | None = None,
    ) -> None:
        self.blocks = list(blocks(module).values())
        self.task = Sgd(task_parameters(module) if parameters is None else parameters, options)

    def step(self, learning_rate: float) -> None:
        """Do one step of the task player and ``updates`` steps of each autoencoder."""
        self.task.step(learning_rate)
        self.autoencoders()

    def autoencoders(self) -> None:
        """Do the steps of the autoencoders; they need no images."""
        for block in self.blocks:
            for _ in range(block.options.updates):
                block.autoencoder_step()


def two_player_train(
    module: nn.Module,
    split: Split,
    batches: int,
    generator: torch.Generator,
    training: TrainingOptions,
    teacher: nn.Module | None = None,
    progress: Callable[[int, float], None] | None = None,
    part: Part | None = None,
    normalization: Normalization | None = None,
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
        normalization: See :func:`prune_gym.training.train`.
    """
    part = part or Part(module, task_parameters(module))
    players = TwoPlayers(module, training, part.parameters)
    train(
        module,
        split,
        batches,
        generator,
        training,
        teacher,
        progress,
        part,
        players,
        normalization,
    )
