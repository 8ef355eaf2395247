"""Runs: a search with an agent, its records, and the network that it exports.

>>> Run(RunConfig("PruneResNet20-v0", agent="l2pf", episodes=3, out="runs/x")).start()
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prune_gym.runs.config import RunConfig
    from prune_gym.runs.records import Episode, Report, Setup, Step
    from prune_gym.runs.run import Run

__all__ = ["Episode", "Report", "Run", "RunConfig", "Setup", "Step"]

_HOMES = {"Run": "run", "RunConfig": "config"}


def __getattr__(name: str) -> object:
    # On demand, so that `prune-gym --help` does not wait for torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'records')}")
    return getattr(module, name)
