"""Peak memory of a repair by least squares, in a process of its own."""

import multiprocessing
import resource
import time

import torch
from torch import nn

from benchmarks.studies.speed.measurement import Measurement
from prune_gym.pruning.repair import LeastSquares


def rows(inputs: int = 25_088, outputs: int = 4_096, images: int = 256) -> list[Measurement]:
    """Memory and time of the refit of a dense layer behind a flatten, by default VGG-16's first."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        memory, seconds = pool.apply(measure, (inputs, outputs, images))
    layer = f"refit of a dense layer, {inputs:,} to {outputs:,}, {images} images"
    return [
        Measurement(f"{layer}: peak memory", memory, "GiB"),
        Measurement(f"{layer}: time", seconds, "s"),
    ]


def measure(inputs: int, outputs: int, images: int) -> tuple[float, float]:
    """Growth of the process's peak memory in GiB during a refit, and its time in seconds."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs)).eval()
    refit = LeastSquares(network, ["1"], torch.randn(images, inputs, 1, 1).relu())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    refit.refit(network, "1")
    seconds = time.perf_counter() - start
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20, seconds
