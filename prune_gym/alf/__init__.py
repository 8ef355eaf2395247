"""ALF: autoencoder-based low-rank filter sharing (Frickenstein et al., DAC 2020)."""

from prune_gym.alf.block import ALFConv2d, nu
from prune_gym.alf.compress import Compression, compress
from prune_gym.alf.convert import blocks, convertible, deploy, pays, to_alf, with_codes
from prune_gym.alf.options import ALFOptions, CompressOptions
from prune_gym.alf.training import TwoPlayers, task_parameters, two_player_train

__all__ = [
    "ALFConv2d",
    "ALFOptions",
    "CompressOptions",
    "Compression",
    "TwoPlayers",
    "blocks",
    "compress",
    "convertible",
    "deploy",
    "nu",
    "pays",
    "task_parameters",
    "to_alf",
    "two_player_train",
    "with_codes",
]
