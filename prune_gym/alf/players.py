"""The two players of ALF's training, and their turns at a mini-batch."""

from collections.abc import Sequence

from torch import nn

from prune_gym.alf.convert import blocks
from prune_gym.training import Sgd, TrainingOptions

AUTOENCODER = ("encoder", "decoder", "mask")


def task_parameters(module: nn.Module) -> list[nn.Parameter]:
    """What the task's player trains: all but the autoencoders' own parameters."""
    own = {id(getattr(block, name)) for block in blocks(module).values() for name in AUTOENCODER}
    return [parameter for parameter in module.parameters() if id(parameter) not in own]


class TwoPlayers:
    """The task's player and the autoencoders' player, who take turns at every mini-batch.

    In this project's formulation, with L the task's loss and L_ae each block's own::

        W, W_exp, ...    <-  SGD with momentum on dL/dW, dL/dW_exp, ...        once
        W_enc, W_dec, M  <-  SGD on dL_ae/dW_enc, dL_ae/dW_dec, dL_ae/dM       ``updates`` times

    Neither loss has a gradient in the other player's weights. An optimiser for
    :func:`prune_gym.training.train`.

    Args:
        module: With :class:`prune_gym.alf.block.ALFConv2d` blocks, which carry the autoencoders'
            options.
        options: Momentum and weight decay of the task's player.
        parameters: What the task's player moves; None: :func:`task_parameters`.
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
        """One turn of both.

        Args:
            learning_rate: Of the task's player.
        """
        self.task.step(learning_rate)
        self.autoencoders()

    def autoencoders(self) -> None:
        """The autoencoders' turn; it needs no images."""
        for block in self.blocks:
            for _ in range(block.options.updates):
                block.autoencoder_step()
