"""Follows a search: progress bar, TensorBoard, episode records, checkpoints, the best network."""

import time
from collections.abc import Mapping
from dataclasses import fields
from itertools import compress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from prune_gym.costs import StepCosts
from prune_gym.envs import PruningEnv
from prune_gym.envs.state import State
from prune_gym.files import named_file
from prune_gym.interface import Agent, Budget, Callback
from prune_gym.pruning.finished import BlockRecord
from prune_gym.pruning.saved import save_network
from prune_gym.runs import checkpoint
from prune_gym.runs.folder import BEST, TENSORBOARD, append_episode, hash_episodes, keep_episodes
from prune_gym.runs.records import Episode, Setup, Step, best_so_far


class Recorder(Callback):
    """Writes what happens in a search to the run's folder.

    :meth:`Setup.rank` chooses the best network. The budget gives the progress bar its length.

    Attributes:
        best: State of the best network so far, or None.
    """

    def __init__(
        self, folder: Path, env: PruningEnv, setup: Setup, budget: Budget, quiet: bool = False
    ) -> None:
        self.folder, self.env, self.setup, self._limit = folder, env, setup, budget.search_macs
        self.best: State | None = None
        self._best_rank: tuple[bool, float] | None = None
        self._best_score = 0.0
        self._episodes = self._trials = self._updates = 0
        self._wall, self._cpu = time.monotonic(), time.process_time()
        self._writer = SummaryWriter(str(folder / TENSORBOARD))
        self._bar = tqdm(
            total=budget.episodes,
            unit="episode",
            disable=quiet,
            dynamic_ncols=True,
            bar_format="{l_bar}{bar}| {n:.2f}/{total_fmt} episodes [{elapsed}<{remaining}{postfix}]"
            if budget.episodes
            else "{n:.2f} episodes [{elapsed}{postfix}]",
        )

    def wall_seconds(self) -> float:
        """Seconds since the search began, those of earlier processes included."""
        return time.monotonic() - self._wall

    def device_seconds(self) -> float:
        """CPU seconds of the process (all threads), or seconds of wall time on another device."""
        if self.env.baseline.device.type == "cpu":
            return time.process_time() - self._cpu
        return self.wall_seconds()

    def restart_clock(self, wall: float = 0.0, device: float = 0.0) -> None:
        """Start the run's time now, with some seconds spent before."""
        self._wall, self._cpu = time.monotonic() - wall, time.process_time() - device

    # What an agent reports

    def on_trial(self, reward: float, info: Mapping[str, Any]) -> None:
        """Count a step or tried candidate, and move the bar."""
        self._trials += 1
        layers = len(self.env.visited)
        self.on_status(
            info["position"] / layers,
            f"{self._spent()}trial {self._trials}, layer {info['position']}/{layers}, "
            f"accuracy {info['accuracy']:.3f}, {info['cost_ratio']:.2f}x, reward {reward:+.3f}, "
            f"best {max(self._best_score, 0):.3f}",
        )

    def _spent(self) -> str:
        """How much of the search's MACs are spent, if they are limited."""
        if self._limit is None:
            return ""
        return f"{min(1.0, self.env.search_macs_total / self._limit):.0%} of the search, "

    def on_status(self, done: float, text: str) -> None:
        """Move the bar within an episode."""
        self._bar.set_postfix_str(text, refresh=False)
        # All candidates of a layer are at the same place; the bar never goes back.
        self._bar.update(max(0.0, self._episodes + min(done, 0.99) - self._bar.n))
        self._bar.refresh()

    def on_update(self, metrics: Mapping[str, float]) -> None:
        """Log an agent's own values to TensorBoard."""
        with named_file(self.folder / TENSORBOARD):
            for name, value in metrics.items():
                self._writer.add_scalar(f"agent/{name}", value, self._updates)
        self._updates += 1

    def on_episode(self, number: int, env: gym.Env, infos: list[dict[str, Any]]) -> None:
        """Record an episode; if its network is the best so far, save it."""
        episode = self._episode(number, infos)
        rank = self.setup.rank(episode.accuracy, episode.costs)
        if episode.complete and (self._best_rank is None or rank > self._best_rank):
            self.best = self.env.snapshot()
            self._rate_best(episode)
            facts = {"episode": number}
            save_network(self.folder / BEST, self.env.network, self.env.kept, facts)
        append_episode(self.folder, episode)
        reward = sum(info["reward"] for info in infos)
        # The writer's thread passes its errors on at a later call.
        with named_file(self.folder / TENSORBOARD):
            for name in ("accuracy", "score", "cost_ratio", "params_ratio", "macs_ratio"):
                self._writer.add_scalar(f"episode/{name}", infos[-1][name], number)
            self._writer.add_scalar("episode/reward", reward, number)
            self._writer.flush()
        self._episodes = number + 1
        self._bar.update(max(0.0, self._episodes - self._bar.n))

    def _rate_best(self, episode: Episode) -> None:
        self._best_rank = self.setup.rank(episode.accuracy, episode.costs)
        self._best_score = self.setup.score(episode.accuracy, episode.costs)

    def _episode(self, number: int, infos: list[dict[str, Any]]) -> Episode:
        final = infos[-1]
        visited = zip(self.env.visited, infos, strict=False)
        return Episode(
            number=number,
            complete=final["position"] == len(self.env.visited),
            accuracy=final["accuracy"],
            costs=_costs(final),
            search_macs=final["search_macs"],
            search_macs_total=self.env.search_macs_total,
            trials=self._trials,
            wall_seconds=round(self.wall_seconds(), 3),
            device_seconds=round(self.device_seconds(), 3),
            steps=tuple(_step(space.name, info) for space, info in visited),
        )

    # Checkpoints

    def on_checkpoint(self, agent: Agent) -> None:
        """Write a checkpoint (:mod:`prune_gym.runs.checkpoint`)."""
        progress = checkpoint.Progress(
            episodes=self._episodes,
            trials=self._trials,
            updates=self._updates,
            search_macs_total=self.env.search_macs_total,
            wall_seconds=self.wall_seconds(),
            device_seconds=self.device_seconds(),
            episodes_sha256=hash_episodes(self.folder, self._episodes),
            random=self.env.np_random.bit_generator.state,
        )
        checkpoint.write(self.folder, agent, self.env, self.best, progress)

    def restore(self, agent: Agent) -> bool:
        """Continue from the folder's checkpoint; the agent loads its saved state.

        Returns:
            Whether there was a checkpoint. Without one the search starts again.

        Raises:
            PruneGymError: If the checkpoint is damaged or of another schema.
        """
        found = checkpoint.find(self.folder)
        if found is None:
            keep_episodes(self.folder, 0)
            return False
        progress = checkpoint.read(found)
        checkpoint.hold_episodes(self.folder, progress)
        episodes = keep_episodes(self.folder, progress.episodes)
        best = [*compress(episodes, best_so_far(self.setup, episodes))]
        accuracy = best[-1].accuracy if best else None
        self.best = checkpoint.load(found, agent, self.env, progress, accuracy)
        if self.best is not None:
            network = self.best.network(self.env.baseline.network)
            save_network(self.folder / BEST, network, self.best.kept)
            self._rate_best(best[-1])
        self._episodes, self._trials = progress.episodes, progress.trials
        self._updates = progress.updates
        self.restart_clock(progress.wall_seconds, progress.device_seconds)
        self._bar.update(self._episodes - self._bar.n)
        return True

    def close(self) -> None:
        """Close progress bar and event file."""
        self._bar.close()
        with named_file(self.folder / TENSORBOARD):
            self._writer.close()


def _costs(info: Mapping[str, Any]) -> StepCosts:
    return StepCosts(**{field.name: info[field.name] for field in fields(StepCosts)})


def _step(space: str, info: Mapping[str, Any]) -> Step:
    block = None
    if "codes" in info:
        names = ("sparsity", "codes", "merged", "reconstruction_error", "autoencoder_updates")
        block = BlockRecord(*(info[name] for name in names))
    return Step(
        space=space,
        kept=tuple(np.flatnonzero(info["mask"]).tolist()),
        mask_changed=info["mask_changed"],
        duration=info["duration"],
        batches=info["batches"],
        accuracy=info["accuracy"],
        costs=_costs(info),
        seed=info.get("seed"),
        block=block,
    )
