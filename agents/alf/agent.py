"""ALF as the paper trains it: all convolutions at once, during the training of the task."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from agents import files
from agents.alf.options import CLIPPED, WholeOptions
from agents.base import Action, Agent, Budget, Callback, Observation
from agents.start import ratio_for
from prune_gym.alf import ALFOptions, blocks, to_alf, two_player_train
from prune_gym.alf.history import History
from prune_gym.errors import WeightsError
from prune_gym.training import TrainingOptions
from prune_gym.weights import load_weights, read_weights, save_weights

_HISTORY = "history/"


class ALF(Agent):
    """Frickenstein et al., DAC 2020: every convolution is a block while the task is trained.

    It does not walk from layer to layer: an episode is a piece of two-player training of the whole
    network, at whose end the blocks are deployed and the environment takes the network over
    (:meth:`prune_gym.envs.PruningEnv.adopt`). The following episode goes on with the blocks.

    Args:
        env: A pruning environment with ``action_mode="alf"``; its visited convolutions are taken.
        seed: Of the images' order and, from scratch, of the weights.
        options: Of :class:`WholeOptions`.

    Raises:
        ValueError: Another action mode, or an option is unknown or out of range.
    """

    Options = WholeOptions
    action_modes = ("alf",)

    def __init__(self, env: gym.Env, seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        self.options = chosen = WholeOptions(**options)
        rate = ALFOptions().mask_learning_rate
        if not chosen.clips_first:
            # An entry falls by this rate times the weight of sparsity at every update.
            updates = CLIPPED * self._batches() * chosen.updates
            rate = min(rate, 1 / (chosen.weight * updates))
        pr_max = max(0.0, 1 - ratio_for(env, 1 - ALFOptions().pr_max))
        self.constants = chosen.block(pr_max=pr_max, mask_learning_rate=rate)
        self.history = History()
        self.module = self._start()
        if chosen.pr_max is None:
            self._hold_to_target()

    def _hold_to_target(self) -> None:
        """Let each block clip as many codes as the target needs."""
        env: Any = self.env.unwrapped
        if not env.target.bounds_costs:
            return
        ratio, found = ratio_for(self.env), blocks(self.module)
        counts = env.mode.codes_for_target() or {
            name: max(1, round(ratio * block.out_channels)) for name, block in found.items()
        }
        for name, block in found.items():
            # A little more, so that floor() of the product is not one code less.
            share = min(1.0, 1 - counts[name] / block.out_channels + 1e-9)
            block.options = replace(self.constants, pr_max=share)

    def _start(self) -> nn.Module:
        env: Any = self.env.unwrapped
        layers = [space.producers[0] for space in env.visited]
        if not self.options.from_scratch:
            return to_alf(env.baseline.network, layers, self.constants)
        generator = torch.Generator().manual_seed(self.seed)
        module = to_alf(env.baseline.network, layers, self.constants, generator)
        inside = {id(part) for block in blocks(module).values() for part in block.modules()}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            for part in module.modules():
                reset = getattr(part, "reset_parameters", None)
                if reset is not None and id(part) not in inside:
                    reset()
        return module

    # Learning

    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Train piece by piece until the budget is spent (:meth:`Agent.learn`)."""
        callback = callback or Callback()
        env: Any = self.env.unwrapped
        seed = self.begin_search()
        while not budget.spent(self.episodes, self.steps, env.search_macs_total):
            self.env.reset(seed=seed)
            seed = None
            updates, before = self._clip(callback) if self.episodes == 0 else (0, 0)
            batches, macs = self._train(callback)
            updates, macs = updates + batches * self.constants.updates, before + macs
            infos = env.adopt(self.module, batches, updates, macs)
            self.steps += len(infos)
            self.history.note(self.module)
            callback.on_trial(infos[-1]["reward"], infos[-1])
            callback.on_update(self._metrics())
            callback.on_episode(self.episodes, self.env, infos)
            self.episodes += 1
            callback.on_checkpoint(self)

    def _clip(self, callback: Callback) -> tuple[int, int]:
        """Clip codes before the training; updates of each autoencoder, and nominal MACs."""
        if not self.options.clips_first:
            return 0, 0
        env: Any = self.env.unwrapped
        updates, found = self.options.first_updates, blocks(self.module)
        macs = updates * env.mode.update_macs()
        self.module.eval()
        for number, (name, block) in enumerate(found.items(), 1):
            self.history.note(self.module)
            for _ in range(updates):
                block.autoencoder_step()
            block.clip()
            macs += env.mode.repair(self.module, name)
            callback.on_status(number / len(found), f"clipped {name}, {block.codes_alive} codes")
        return updates, macs

    def _batches(self) -> int:
        """Mini-batches of an episode."""
        env: Any = self.env.unwrapped
        images = len(env.baseline.train_split.labels)
        size = env.mode.transition.training.batch_size
        return max(1, round(self.options.epochs * images / size))

    def _train(self, callback: Callback) -> tuple[int, int]:
        """One piece of training; its mini-batches and nominal MACs."""
        env: Any = self.env.unwrapped
        task, options = env.baseline, self.options
        size, batches = env.mode.transition.training.batch_size, self._batches()
        distilled = not options.from_scratch and options.distillation > 0
        training = TrainingOptions(
            batch_size=size,
            learning_rate=options.learning_rate,
            schedule="one_cycle",
            distillation=options.distillation if distilled else 0.0,
        )
        # Counted with the codes alive before it: fewer are computed as more are clipped.
        macs = 3 * env.mode.running_macs(self.module) + (task.costs.of().macs if distilled else 0)
        macs = macs * batches * size + self.constants.updates * batches * env.mode.update_macs()
        found = blocks(self.module)
        every = max(1, batches // 50)

        def progress(batch: int, loss: float) -> None:
            if batch % every == 0:
                self.history.note(self.module)
                alive = " ".join(str(block.codes_alive) for block in found.values())
                callback.on_status(batch / batches, f"loss {loss:.3f}, codes {alive}")

        # A seed of its own for each piece, so that a resumed search draws the same images.
        drawn = np.random.default_rng([self.seed, self.episodes]).integers(2**62)
        generator = torch.Generator().manual_seed(int(drawn))
        teacher = task.module if distilled else None
        two_player_train(
            self.module, task.train_split, batches, generator, training, teacher, progress
        )
        return batches, macs

    def _metrics(self) -> dict[str, float]:
        found = blocks(self.module)
        metrics = {f"codes/{name}": float(block.codes_alive) for name, block in found.items()}
        error = np.mean([block.reconstruction_error() for block in found.values()])
        return metrics | {"reconstruction_error": float(error)}

    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """For one layer what the agent asks of all: ``pr_max``, and the longest training."""
        return {
            "sparsity": np.array([self.constants.pr_max], np.float32),
            "duration": np.ones(1, np.float32),
        }

    # Files

    def plot(self, folder: Path) -> list[Path]:
        """Draw mask entries and codes alive over the training (:meth:`Agent.plot`)."""
        from prune_gym.alf.plot import plot_history

        return [plot_history(self.history, folder / "codes.png")]

    def save(self, folder: Path) -> None:
        """Write the network with its blocks, and the history of their masks."""
        save_weights(self.module, folder / files.POLICY)
        tensors = {_HISTORY + name: value for name, value in self.history.tensors().items()}
        files.save_tensors(folder / files.TRAINING, tensors)
        files.write_facts(folder, self, "alf", options=asdict(self.options))

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote; learning goes on from there.

        Raises:
            WeightsError: It is missing, damaged, or of another network.
        """
        load_weights(self.module, folder / files.POLICY)
        try:
            self.history = History.of(files.pick(read_weights(folder / files.TRAINING), _HISTORY))
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(f"The history in {str(folder)!r} is damaged: {error}.") from error
        files.read_facts(folder, self, "alf")
