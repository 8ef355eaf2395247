"""The two players of ALF training: the task and the autoencoders."""

from collections.abc import Sequence

from torch import nn

from prune_gym.alf.convert import blocks
from prune_gym.training import Sgd, TrainingOptions

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
        """Do one step of the task player and ``updates`` steps of the autoencoders.

        Args:
            learning_rate: Learning rate of the task player.
        """
        self.task.step(learning_rate)
        self.autoencoders()

    def autoencoders(self) -> None:
        """Do the steps of the autoencoders; they need no images."""
        for block in self.blocks:
            for _ in range(block.options.updates):
                block.autoencoder_step()
