"""Follows a training run: progress bar, TensorBoard, episode records, the best network."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from agents.base import Budget, Callback
from prune_gym.envs.state import State
from prune_gym.envs.target import Target
from prune_gym.pruning.saved import save_network
from prune_gym.runs.folder import BEST, EPISODES, SCHEMA, append_line

ALF = ("sparsity", "codes", "merged", "reconstruction_error", "autoencoder_updates")
COSTS = ("params", "macs", "cycles", "latency_ms", "energy_uj")


def rank(final: Mapping[str, Any], target: Target) -> tuple[bool, float]:
    """What the best network of a run is chosen by; the larger, the better.

    Without a target it is the score. Of networks that meet wanted costs it is the accuracy; where
    accuracy alone is wanted it is the score again, and of networks that miss it, the accuracy.

    Args:
        final: The info after an episode's last step.
        target: The environment's.
    """
    met = bool(final["target_met"])
    by_accuracy = target.bounds_costs or not met
    return met, final["accuracy"] if by_accuracy else final["score"]


class Recorder(Callback):
    """Writes what happens in a run to its folder; the best network is chosen by :func:`rank`.

    Args:
        folder: The run's folder.
        env: The unwrapped environment.
        seed: The run's seed, for the records.
        budget: Gives the progress bar its length.
        quiet: No progress bar.
    """

    def __init__(
        self, folder: Path, env: Any, seed: int, budget: Budget, quiet: bool = False
    ) -> None:
        self.folder, self.env, self.seed = folder, env, seed
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.budget = budget
        self.best: State | None = None
        self.best_score = 0.0
        self.best_rank: tuple[bool, float] | None = None
        self.episodes = self.trials = self.updates = 0
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self.bar = tqdm(
            total=budget.episodes,
            unit="episode",
            disable=quiet,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.2f}/{total_fmt} episodes [{elapsed}<{remaining}{postfix}]"
            if budget.episodes
            else None,
        )

    def device_seconds(self) -> float:
        """CPU seconds of the process (all threads), or seconds of wall time on another device."""
        if self.env.baseline.device.type == "cpu":
            return time.process_time() - self._cpu
        return time.monotonic() - self._wall

    def wall_seconds(self) -> float:
        """Seconds since the search began."""
        return time.monotonic() - self._wall

    def restart_clock(self) -> None:
        """Leave what came before out of the run's time."""
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def counters(self) -> dict[str, Any]:
        """What has to be kept for another process to go on."""
        return {
            "episodes": self.episodes,
            "trials": self.trials,
            "updates": self.updates,
            "best_score": self.best_score,
            "best_rank": self.best_rank,
            "wall_seconds": self.wall_seconds(),
            "device_seconds": self.device_seconds(),
        }

    def set_counters(self, counters: Mapping[str, Any]) -> None:
        """Go on from another process's :meth:`counters`."""
        self.episodes, self.trials = counters["episodes"], counters["trials"]
        self.updates, self.best_score = counters["updates"], counters["best_score"]
        best = counters["best_rank"]
        self.best_rank = None if best is None else (bool(best[0]), float(best[1]))
        self._wall = time.monotonic() - counters["wall_seconds"]
        self._cpu = time.process_time() - counters["device_seconds"]
        self.bar.update(self.episodes - self.bar.n)

    def on_trial(self, reward: float, info: Mapping[str, Any]) -> None:
        """Count a tried candidate and move the bar."""
        self.trials += 1
        done = self.episodes + info["position"] / len(self.env.visited)
        self.bar.set_postfix_str(
            f"trial {self.trials}, layer {info['position']}/{len(self.env.visited)}, "
            f"accuracy {info['accuracy']:.3f}, {info['cost_ratio']:.2f}x, reward {reward:+.3f}, "
            f"best {max(self.best_score, 0):.3f}",
            refresh=False,
        )
        # Candidates of one layer stand at the same place; the bar never goes back.
        self.bar.update(max(0.0, min(done, self.episodes + 0.99) - self.bar.n))
        self.bar.refresh()

    def on_status(self, done: float, text: str) -> None:
        """Move the bar within an episode that takes long."""
        self.bar.set_postfix_str(text, refresh=False)
        self.bar.update(max(0.0, self.episodes + min(done, 0.99) - self.bar.n))
        self.bar.refresh()

    def on_update(self, metrics: Mapping[str, float]) -> None:
        """Log an agent's own figures to TensorBoard."""
        for name, value in metrics.items():
            self.writer.add_scalar(f"agent/{name}", value, self.updates)
        self.updates += 1

    def on_episode(self, number: int, env: Any, infos: list[dict[str, Any]]) -> None:
        """Record an episode; where it is the best so far, write its network."""
        final, unwrapped = infos[-1], self.env
        complete = final["position"] == len(unwrapped.visited)
        worth = rank(final, unwrapped.target)
        improved = complete and (self.best_rank is None or worth > self.best_rank)
        if improved:
            self.best_rank, self.best_score = worth, final["score"]
            self.best = unwrapped.snapshot()
            save_network(self.folder / BEST, unwrapped.network, unwrapped.kept, {"episode": number})
        append_line(self.folder / EPISODES, self._record(number, infos, complete, improved))
        for name in ("accuracy", "score", "cost_ratio", "params_ratio", "macs_ratio"):
            self.writer.add_scalar(f"episode/{name}", final[name], number)
        reward = sum(info["reward"] for info in infos)
        self.writer.add_scalar("episode/reward", reward, number)
        self.writer.flush()
        self.episodes = number + 1
        self.bar.update(max(0.0, self.episodes - self.bar.n))

    def _record(
        self, number: int, infos: list[dict[str, Any]], complete: bool, best: bool
    ) -> dict[str, Any]:
        """One line of ``episodes.jsonl``; masks are the executed ones."""
        steps = [
            {
                "space": space.name,
                "kept": np.flatnonzero(info["mask"]).tolist(),
                "duration": info["duration"],
                "batches": info["batches"],
                **({"seed": info["seed"]} if "seed" in info else {}),
                "mask_changed": info["mask_changed"],
                "accuracy": info["accuracy"],
                "rewards": info["rewards"],
                **{name: info[name] for name in ALF if name in info},
                **{name: info[name] for name in COSTS},
            }
            for space, info in zip(self.env.visited, infos, strict=False)
        ]
        final = infos[-1]
        return {
            "schema": SCHEMA,
            "episode": number,
            "seed": self.seed,
            "threads": self.env.threads,
            "complete": complete,
            "best": best,
            "target_met": final["target_met"],
            "score": final["score"],
            "accuracy": final["accuracy"],
            **{name: final[name] for name in COSTS},
            "params_ratio": final["params_ratio"],
            "macs_ratio": final["macs_ratio"],
            "cost_ratio": final["cost_ratio"],
            "reward": sum(info["reward"] for info in infos),
            "search_macs": final["search_macs"],
            "search_macs_total": self.env.search_macs_total,
            "trials": self.trials,
            "wall_seconds": round(self.wall_seconds(), 3),
            "device_seconds": round(self.device_seconds(), 3),
            "steps": steps,
        }

    def close(self) -> None:
        """Close bar and event file."""
        self.bar.close()
        self.writer.close()
