"""A deterministic accelerator model: cycles, energy and data traffic of convolutions.

Example:
    >>> from hw_sim import Accelerator, ConvLayer, search
    >>> layer = ConvLayer("conv1", 1, 3, 16, 32, 32, kernel=(3, 3), padding=1)
    >>> search(layer, Accelerator.preset("eyeriss_ideal"), "energy").cycles
    4608
"""

from hw_sim.accelerator import Accelerator, presets
from hw_sim.cost import LayerCost, NetworkCost
from hw_sim.layer import ConvLayer
from hw_sim.loop_nest import loop_nest
from hw_sim.mapping import Mapping, SystolicMapping
from hw_sim.model import clear_memo, evaluate, evaluate_network, search
from hw_sim.report import to_csv, to_json, to_table
from hw_sim.row_stationary import OBJECTIVES

__all__ = [
    "OBJECTIVES",
    "Accelerator",
    "ConvLayer",
    "LayerCost",
    "Mapping",
    "NetworkCost",
    "SystolicMapping",
    "clear_memo",
    "evaluate",
    "evaluate_network",
    "loop_nest",
    "presets",
    "search",
    "to_csv",
    "to_json",
    "to_table",
]
