"""Peak memory of a step on large images, in a process of its own."""

import multiprocessing
import resource
from typing import Any

import numpy as np
import torch

from benchmarks.studies.speed.measurement import Measurement
from prune_gym.data import Dataset, Split
from prune_gym.envs import PruningEnv
from prune_gym.networks import Network
from prune_gym.pruning import derive
from prune_gym.torchvision_import import models

BATCH = 32


def rows(size: int = 224, images: int = 1000) -> list[Measurement]:
    """Memory of steps of torchvision's ResNet-18, without and with a mini-batch of fine-tuning."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(measure, (size, images))
    what = f"ResNet-18, {images:,} images of {size} x {size}, peak memory"
    return [Measurement(f"{what}: {stage}", memory, "GiB") for stage, memory in found.items()]


def measure(size: int, images: int) -> dict[str, float]:
    """Growth of the process's peak memory in GiB up to the end of each stage.

    Neither the network nor the pixels of the data set, which are memory-mapped as a rule, count.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    shape, labels = (3, size, size), torch.arange(images) % 10
    pixels = torch.randint(0, 256, (images, *shape), dtype=torch.uint8)
    split, names = Split(pixels, labels), tuple("abcdefghij")
    dataset = Dataset("random", "random", "0" * 64, names, split, split, split)
    found = derive(models().resnet18(num_classes=len(names)).eval(), shape)
    network = Network("torchvision:resnet18", found.module, found.spaces, shape, len(names))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def grown() -> float:
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20

    settings: dict[str, Any] = {"scope": "all", "batch_size": BATCH, "max_epochs": BATCH / images}
    env = PruningEnv(network, dataset, threads=1, eval_images=images, **settings)
    memory = {"making the environment": grown()}
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    for duration, stage in ((0, "a step"), (1, f"a step with a mini-batch of {BATCH}")):
        mask = (rng.random(env.width) < 0.7).astype(np.int8)
        env.step({"mask": mask, "duration": np.array([duration], np.float32)})
        memory[stage] = grown()
    return memory
