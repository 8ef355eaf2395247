"""Measurements for the environment's default sizes: ``python -m benchmarks.studies.sizes``.

The script prunes the baseline at random many times and prints Markdown tables of

* the agreement between a validation subset's ranking of networks and the full split's
  (Kendall's tau),
* accuracy by the number of repair images,
* time of a step and accuracy by duration.
"""

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import tables
from benchmarks.studies.speed.step import make
from prune_gym.batches import NormalizedImages
from prune_gym.envs import PruningEnv
from prune_gym.envs.state import State

SUBSETS = (125, 250, 500, 1000, 2000)
REPAIR_IMAGES = (64, 128, 256, 512)
DURATIONS = (0.0, 0.25, 0.5, 1.0)


def kendall_tau(a: npt.NDArray, b: npt.NDArray) -> float:
    """Kendall's tau-b of two samples of the same length."""
    i, j = np.triu_indices(len(a), 1)
    x, y = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    ties = np.sqrt((x != 0).sum() * (y != 0).sum())
    return float((x * y).sum() / ties) if ties else 0.0


def random_walk(env: PruningEnv, seed: int, duration: float = 0.0) -> State:
    """The last state of an episode of random masks that all keep the same share."""
    rng = np.random.default_rng(seed)
    keep = rng.uniform(0.3, 0.95)
    env.reset(seed=seed)
    for _ in env.visited:
        mask = (rng.random(env.width) < keep).astype(np.int8)
        env.step({"mask": mask, "duration": np.array([duration], np.float32)})
    return env.snapshot()


def mean_walk(env: PruningEnv, walks: int, duration: float = 0.0) -> tuple[float, float]:
    """Mean accuracy after some random walks, and mean seconds of a step."""
    started = time.perf_counter()
    accuracy = [random_walk(env, seed, duration).accuracy for seed in range(walks)]
    seconds = (time.perf_counter() - started) / walks / len(env.visited)
    return float(np.mean(accuracy)), seconds


def subsets(name: str, arguments: dict[str, Any], walks: int) -> None:
    """Rank correlation and time by the size of the validation subset."""
    env = make(name, **arguments)
    validation = env.baseline.dataset.validation
    normalize, device = env.baseline.network.normalize, env.baseline.device
    images = NormalizedImages(validation.images, normalize, device)
    hits = []
    for seed in range(walks):
        module = random_walk(env, seed).module
        with torch.no_grad():
            parts = [module(part).argmax(1).cpu() for part in images.split(250)]
        hits.append((torch.cat(parts) == validation.labels).numpy())
    right = np.array(hits)
    full = right.mean(axis=1)
    print(
        f"\n{walks} networks, full split {right.shape[1]} images, accuracy "
        f"{full.min():.3f} to {full.max():.3f}\n"
    )
    rows = []
    for size in (*(size for size in SUBSETS if size < right.shape[1]), right.shape[1]):
        part = right[:, :size].mean(axis=1)
        started = time.perf_counter()
        with torch.no_grad():
            for batch in images[:size].split(250):
                env.baseline.module(batch)
        seconds = time.perf_counter() - started
        error = 100 * np.abs(part - full).mean()
        rows.append([f"{size}", f"{kendall_tau(part, full):.3f}", f"{error:.2f}", f"{seconds:.2f}"])
    head = ["subset", "Kendall's tau", "mean error (points)", "evaluation of the baseline (s)"]
    print(tables.markdown(head, rows))


def repairs(name: str, arguments: dict[str, Any], walks: int) -> None:
    """Accuracy after a walk by the number of repair images, and by the kind of repair."""
    settings = [("none", 64), ("bn", 256)] + [("lsq", images) for images in REPAIR_IMAGES]
    rows = []
    for recovery, images in settings:
        env = make(name, **(arguments | {"recovery": recovery, "repair_images": images}))
        random_walk(env, 0)  # the first walk computes the references of the repair
        accuracy, seconds = mean_walk(env, walks)
        shown = f"{images}" if recovery != "none" else "-"
        rows.append([recovery, shown, f"{accuracy:.3f}", f"{seconds:.2f}"])
    head = ["repair", "images", "mean accuracy", "mean step (s)"]
    print(f"\n{tables.markdown(head, rows)}")


def durations(name: str, arguments: dict[str, Any], walks: int) -> None:
    """Accuracy after a walk, and the time of a step, by duration."""
    env, rows = make(name, **arguments), []
    for duration in DURATIONS:
        accuracy, seconds = mean_walk(env, walks, duration)
        batches = round(duration * env.max_batches)
        rows.append([f"{duration}", f"{batches}", f"{accuracy:.3f}", f"{seconds:.2f}"])
    head = ["duration", f"mini-batches (of {env.max_batches})", "mean accuracy", "mean step (s)"]
    print(f"\n{tables.markdown(head, rows)}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--id", default="PruneResNet20-v0", help="an environment")
    parser.add_argument("--dataset", help="data set in place of the id's own")
    parser.add_argument("--walks", type=int, default=16, help="number of random networks")
    parser.add_argument("--threads", type=int, default=None, help="number of torch's threads")
    parsed = parser.parse_args()
    arguments: dict[str, Any] = {"threads": parsed.threads}
    if parsed.dataset:
        arguments["dataset"] = parsed.dataset
    print(f"{parsed.id}, {parsed.walks} walks, seeds from 0, torch {torch.__version__}")
    subsets(parsed.id, arguments, parsed.walks)
    repairs(parsed.id, arguments, max(1, parsed.walks // 4))
    durations(parsed.id, arguments, max(1, parsed.walks // 8))


if __name__ == "__main__":
    main()
