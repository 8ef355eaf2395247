"""What the environment's default sizes rest on: ``python -m benchmarks.defaults``.

Cuts the baseline at random many times, repairs it by least squares on fewer and on more images,
and prints, as Markdown tables:

* how well accuracy on a validation subset ranks networks as the full split does (Kendall's tau),
* what repair images buy in accuracy,
* how long a step takes by its duration, and what the duration buys.
"""

import argparse
import time
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

import prune_gym  # noqa: F401 - registers the ids
from prune_gym.data import normalize
from prune_gym.envs import PruningEnv
from prune_gym.envs.state import State

SUBSETS = (125, 250, 500, 1000, 2000)
REPAIR_IMAGES = (64, 128, 256, 512)
DURATIONS = (0.0, 0.25, 0.5, 1.0)


def kendall_tau(a: npt.NDArray, b: npt.NDArray) -> float:
    """Kendall's tau-b of two samples of the same length, ties counted for neither side."""
    i, j = np.triu_indices(len(a), 1)
    x, y = np.sign(a[i] - a[j]), np.sign(b[i] - b[j])
    ties = np.sqrt((x != 0).sum() * (y != 0).sum())
    return float((x * y).sum() / ties) if ties else 0.0


def make(name: str, **arguments: Any) -> PruningEnv:
    """An environment by id, unwrapped."""
    env = gym.make(name, **arguments).unwrapped
    assert isinstance(env, PruningEnv)
    return env


def random_walk(env: PruningEnv, seed: int, duration: float = 0.0) -> State:
    """One episode of random masks, with a share of its own, at one duration."""
    rng = np.random.default_rng(seed)
    keep = rng.uniform(0.3, 0.95)
    env.reset(seed=seed)
    for _ in env.visited:
        mask = (rng.random(env.observer.width) < keep).astype(np.int8)
        env.step({"mask": mask, "duration": np.array([duration], np.float32)})
    return env.snapshot()


def subsets(name: str, arguments: dict[str, Any], walks: int) -> None:
    """Rank correlation and time by the size of the validation subset."""
    env = make(name, **arguments)
    validation = env.baseline.dataset.validation
    images = normalize(validation.images, env.baseline.device)
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
    print("| subset | Kendall's tau | mean error (points) | evaluation of the baseline (s) |")
    print("|---|---|---|---|")
    for size in (*(size for size in SUBSETS if size < right.shape[1]), right.shape[1]):
        part = right[:, :size].mean(axis=1)
        started = time.perf_counter()
        with torch.no_grad():
            for batch in images[:size].split(250):
                env.baseline.module(batch)
        seconds = time.perf_counter() - started
        error = 100 * np.abs(part - full).mean()
        print(f"| {size} | {kendall_tau(part, full):.3f} | {error:.2f} | {seconds:.2f} |")


def repairs(name: str, arguments: dict[str, Any], walks: int) -> None:
    """Accuracy after a walk by the number of repair images, and by the kind of repair."""
    print("\n| repair | images | mean accuracy | mean step (s) |\n|---|---|---|---|")
    settings = [("none", 64), ("bn", 256)] + [("lsq", images) for images in REPAIR_IMAGES]
    for recovery, images in settings:
        env = make(name, **(arguments | {"recovery": recovery, "repair_images": images}))
        random_walk(env, 0)  # the first walk computes the targets
        started = time.perf_counter()
        accuracy = [random_walk(env, seed).accuracy for seed in range(walks)]
        seconds = (time.perf_counter() - started) / walks / len(env.visited)
        shown = images if recovery != "none" else "-"
        print(f"| {recovery} | {shown} | {np.mean(accuracy):.3f} | {seconds:.2f} |")


def durations(name: str, arguments: dict[str, Any], walks: int) -> None:
    """Accuracy after a walk, and the time of a step, by duration."""
    env = make(name, **arguments)
    print(f"\n| duration | mini-batches (of {env.max_batches}) | mean accuracy | mean step (s) |")
    print("|---|---|---|---|")
    for duration in DURATIONS:
        started = time.perf_counter()
        accuracy = [random_walk(env, seed, duration).accuracy for seed in range(walks)]
        seconds = (time.perf_counter() - started) / walks / len(env.visited)
        batches = round(duration * env.max_batches)
        print(f"| {duration} | {batches} | {np.mean(accuracy):.3f} | {seconds:.2f} |")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--id", default="PruneResNet20-v0", help="an environment")
    parser.add_argument("--dataset", help="in place of the id's own")
    parser.add_argument("--walks", type=int, default=16, help="random networks")
    parser.add_argument("--threads", type=int, default=None, help="of torch")
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
