"""The agent that compresses all convolutions at once with :class:`prune_gym.alf.Compression`."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from agents import files
from agents.base import Action, Agent, Budget, Callback, Info, Observation
from prune_gym.alf import ALFOptions, Compression, CompressOptions, blocks
from prune_gym.alf.compress import codes_for_target
from prune_gym.alf.repair import BlockRepair
from prune_gym.envs import PruningEnv, Spent
from prune_gym.weights import load_weights, save_weights


class ALF(Agent):
    """Frickenstein et al., DAC 2020: every convolution is a block during the training.

    The agent does not walk from layer to layer. An episode is a piece of two-player training of
    the whole network; at its end the blocks are deployed and the environment accepts the network
    (:meth:`prune_gym.envs.PruningEnv.accept`). The next episode continues with the blocks.

    Args:
        env: Pruning environment with ``action_mode="alf"``; it decides the convolutions.
        seed: Seed of the images' order and, from scratch, of the weights.
        options: Fields of :class:`prune_gym.alf.CompressOptions`.

    Attributes:
        module: The network with blocks.

    Raises:
        ValueError: If the action mode is another, or an option is unknown or out of range.
    """

    Options = CompressOptions
    action_modes = ("alf",)

    def __init__(self, env: gym.Env, seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        self.options = CompressOptions(**options)
        real, default = self._real, 1 - ALFOptions.pr_max
        ratio, baseline = real.ratio_for_target(), real.baseline
        layers = [space.producers[0] for space in real.visited]
        macs, images = baseline.costs.of().macs, baseline.repair_images
        repair = BlockRepair(baseline.module, layers, images, real.config.recovery, macs)
        codes = None
        if self.options.pr_max is None and ratio is not None:
            legal, excess = real.target.legal(), real.target.excess
            codes = codes_for_target(baseline.module, layers, legal, excess, repair) or {
                space.producers[0]: max(1, round(ratio * space.channels)) for space in real.visited
            }
        self.compression = Compression(
            baseline.network,
            layers,
            baseline.train_split,
            repair,
            self.options,
            codes,
            max(0.0, 1 - (default if ratio is None else ratio)),
            real.config.batch_size,
            seed,
        )

        self.module = self.compression.module

    @property
    def _real(self) -> PruningEnv:
        """The environment, which must run networks."""
        inner = self.env.unwrapped
        if not isinstance(inner, PruningEnv):
            raise ValueError(f"the agent ALF needs a PruningEnv, not {type(inner).__name__}")
        return inner

    def learn(self, budget: Budget, callback: Callback | None = None) -> None:
        """Train piece by piece until the budget is spent (:meth:`Agent.learn`)."""
        callback, env = callback or Callback(), self._real
        seed = self.begin_search()
        while not budget.spent(self.episodes, self.steps, env.search_macs_total):
            self.env.reset(seed=seed)
            seed = None
            clipped = self.compression.clip(callback.on_status) if self.episodes == 0 else (0, 0)
            batches, macs = self.compression.train(self.episodes, callback.on_status)
            updates = clipped[0] + batches * self.compression.constants.updates
            network = self.compression.deployed(updates, env.target.hold)
            infos = env.accept(network, Spent(batches, clipped[1] + macs))
            self.steps += len(infos)
            callback.on_trial(infos[-1]["reward"], infos[-1])
            callback.on_update(self._metrics())
            callback.on_episode(self.episodes, self.env, infos)
            self.episodes += 1
            callback.on_checkpoint(self)

    def _metrics(self) -> dict[str, float]:
        found = blocks(self.module)
        metrics = {f"codes/{name}": float(block.codes_alive) for name, block in found.items()}
        error = np.mean([block.reconstruction_error() for block in found.values()])
        return metrics | {"reconstruction_error": float(error)}

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """For one layer the request to all layers: ``pr_max``, and the longest training."""
        return {
            "sparsity": np.array([self.compression.constants.pr_max], np.float32),
            "duration": np.ones(1, np.float32),
        }

    # Files

    def save(self, folder: Path) -> None:
        """Write the network with its blocks."""
        save_weights(self.module, folder / files.POLICY)
        files.write_facts(folder, self, "alf", options=asdict(self.options))

    def load(self, folder: Path) -> None:
        """See :meth:`agents.base.Agent.load`."""
        load_weights(self.module, folder / files.POLICY)
        files.read_facts(folder, self, "alf")
