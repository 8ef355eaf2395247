"""Time to derive and verify the spaces of a network."""

import time

from torch import nn

from benchmarks.studies.speed.measurement import Measurement
from prune_gym import networks
from prune_gym.pruning import derive
from prune_gym.torchvision_import import models


def rows(repeats: int) -> list[Measurement]:
    """The fastest of some derivations of ResNet-20 and of torchvision's ResNet-50."""
    cases: list[tuple[str, nn.Module, int]] = [
        ("ResNet-20, 32 x 32", networks.build("resnet20").module, 32),
        ("ResNet-50, 224 x 224", models().resnet50(), 224),
    ]
    return [
        Measurement(f"derivation and verification: {name}", _seconds(module, size, repeats), "s")
        for name, module, size in cases
    ]


def _seconds(module: nn.Module, size: int, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        derive(module, (3, size, size))
        times.append(time.perf_counter() - started)
    return min(times)
