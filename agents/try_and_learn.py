"""Try and learn: an agent for each layer learns which filters to prune (Huang et al. 2018).

"Learning to Prune Filters in Convolutional Neural Networks" (WACV 2018). For a layer of N filters,
an agent pi(A | W, theta) draws a mask A from the layer's weights W, with one Bernoulli
distribution for each filter. Several masks are tried from the same network. The reward is R(A) =
psi(A) * phi(A), an accuracy term with a tolerated drop times an efficiency term. theta follows the
REINFORCE estimate, the mean over the samples of R * grad log pi(A | W, theta), with the samples'
rewards normalised to zero mean and unit variance. Then the mask is executed and the next layer's
agent follows. The duration of the fine-tuning is fixed; L2PF (:mod:`agents.l2pf`) learns it too.

This project's choices: the reward is the environment's ``rewards["prune"]``, whose efficiency term
is a log-ratio of costs instead of filters; the best mask that was tried is executed; episodes are
repeated, and the agents keep what they learned.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from agents.common import checks
from agents.common.filters import Inputs, Reader, normalised
from agents.common.keep_ratio import DEFAULT_KEEP, with_initial_keep
from prune_gym.weights import load_weights, read_weights, save_weights

CHANNELS = (32, 64, 64, 64)
SMALLEST = 2 ** len(CHANNELS)
"""Smallest side of an array that can be pooled by 2 after each convolution."""


@dataclass(frozen=True)
class TryAndLearnOptions:
    """Hyperparameters. All defaults but that of ``samples`` are this project's choice.

    Args:
        samples: Number of masks tried for one update, 2 or more; 5 in the paper.
        updates: Number of updates of a layer's agent in an episode, before its best mask is
            executed.
        learning_rate: Learning rate of Adam.
        hidden: Width of the dense layers.
        initial_keep: Keep ratio of the untrained agents. None: the ratio that meets the
            environment's target, or 0.5 without a target.
        duration: Duration of the fine-tuning in every trial and step, 0 to 1.
    """

    samples: int = 5
    updates: int = 3
    learning_rate: float = 1e-3
    hidden: int = 64
    initial_keep: float | None = None
    duration: float = 0.1

    def __post_init__(self) -> None:
        checks.whole(self, "samples", least=2)
        checks.whole(self, "updates", "hidden")
        checks.positive(self, "learning_rate")
        checks.between(self, "initial_keep")
        checks.share(self, "duration")


class LayerAgent(nn.Module):
    """Policy of one layer, from an array of N x M numbers, one row a filter, to N logits.

    It has four 7 x 7 convolutions, each with ReLU and pooling, and two dense layers; for small
    arrays only the dense layers.

    Args:
        width: n_max, the padded N.
        row: Length M of a row.
        options: Hyperparameters: the width, and the untrained policy's keep ratio.
    """

    def __init__(self, width: int, row: int, options: TryAndLearnOptions) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        entries = width * row
        if min(width, row) >= SMALLEST:
            for before, after in zip((1, *CHANNELS), CHANNELS, strict=False):
                layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU(), nn.MaxPool2d(2)]
            entries = CHANNELS[-1] * (width // SMALLEST) * (row // SMALLEST)
        last = nn.Linear(options.hidden, width)
        nn.init.zeros_(last.weight)
        keep = torch.tensor(options.initial_keep or DEFAULT_KEEP)
        nn.init.constant_(last.bias, float(torch.logit(keep)))
        dense = [nn.Flatten(), nn.Linear(entries, options.hidden), nn.ReLU(), last]
        self.layers = nn.Sequential(*layers, *dense)

    def forward(self, inputs: Inputs) -> Bernoulli:
        """Return the Bernoulli distributions of the filters, shape (n_max,)."""
        return Bernoulli(logits=self.layers(inputs.rows[None, None])[0])


class TryAndLearn(EpisodicAgent):
    """The agent.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        seed: Seed of the policies' weights and draws.
        options: Hyperparameters by name (:class:`TryAndLearnOptions`).

    Raises:
        ValueError: The environment has another action space, or a hyperparameter is out of range.
    """

    Options = TryAndLearnOptions

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        self.options = with_initial_keep(TryAndLearnOptions(**options), env)
        self.generator = torch.Generator().manual_seed(seed)
        self.read = Reader(env.observation_space)
        count, width, row = len(self.pruning.visited), self.read.width, self.read.row
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            own = [LayerAgent(width, row, self.options) for _ in range(count)]
        self.agents = nn.ModuleList(own)
        rate = self.options.learning_rate
        self.optimizers = [torch.optim.Adam(agent.parameters(), rate) for agent in own]

    # Acting

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """See :meth:`agents.base.Agent.act`."""
        with torch.no_grad():
            keep = self.agents[self._layer(observation)](self.read(observation))
        return self._action(keep.probs > 0.5 if deterministic else self._draw(keep))

    def _layer(self, observation: Observation) -> int:
        """Return the number of the present layer."""
        return round(float(observation["progress"][0]) * len(self.agents))

    def _draw(self, keep: Bernoulli) -> Tensor:
        """Draw bits from the agent's own generator, shape (n_max,)."""
        return torch.rand(keep.probs.shape, generator=self.generator) < keep.probs

    def _action(self, bits: Tensor) -> Action:
        duration = np.array([self.options.duration], np.float32)
        return {"mask": bits.numpy().astype(np.int8), "duration": duration}

    # Learning

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Update the layer's agent on masks tried from the present state and choose the best."""
        layer, inputs = self._layer(observation), self.read(observation)
        best: tuple[float, Action] | None = None
        for _ in range(self.options.updates):
            with torch.no_grad():
                keep = self.agents[layer](inputs)
            draws = [self._draw(keep) for _ in range(self.options.samples)]
            actions = [self._action(bits) for bits in draws]
            results = self.pruning.try_actions(actions)
            for action, (reward, info) in zip(actions, results, strict=True):
                callback.on_trial(reward, info)
                if best is None or reward > best[0]:
                    best = (reward, action)
            rewards = torch.tensor([info["rewards"]["prune"] for _, info in results])
            callback.on_update(self.update(layer, inputs, torch.stack(draws), rewards))
        assert best is not None
        return best[1], self.options.updates * self.options.samples

    def update(self, layer: int, inputs: Inputs, bits: Tensor, rewards: Tensor) -> dict[str, float]:
        """Take one REINFORCE step of one layer's agent, and return its metrics.

        Args:
            layer: Number of the layer.
            inputs: Inputs of the policy.
            bits: Masks that were tried, boolean, shape (samples, n_max).
            rewards: Rewards of the masks, shape (samples,).
        """
        keep = self.agents[layer](inputs)
        # The agent does not choose padded bits, so they do not count.
        log_probability = (keep.log_prob(bits.float()) * inputs.valid).sum(1)
        loss = -(normalised(rewards) * log_probability).mean()
        optimizer = self.optimizers[layer]
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.agents[layer].parameters(), 1.0)
        optimizer.step()
        return {
            "loss": float(loss.detach()),
            "entropy": float(keep.entropy().detach()[inputs.valid].mean()),
            "keep": float(keep.probs.detach()[inputs.valid].mean()),
            "reward_prune": float(rewards.mean()),
        }

    # Files

    def save(self, folder: Path) -> None:
        """Write the policies, and what learning needs to continue (:mod:`agents.files`)."""
        save_weights(self.agents, folder / files.POLICY)
        tensors = {"generator": self.generator.get_state()}
        for number, optimizer in enumerate(self.optimizers):
            tensors |= files.optimizer_tensors(optimizer, f"optimizer{number}/")
        files.save_tensors(folder / files.TRAINING, tensors)
        files.write_facts(folder, self, "try_and_learn", options=asdict(self.options))

    def load(self, folder: Path) -> None:
        """See :meth:`agents.base.Agent.load`."""
        load_weights(self.agents, folder / files.POLICY)
        tensors = read_weights(folder / files.TRAINING)
        for number, optimizer in enumerate(self.optimizers):
            files.set_optimizer(optimizer, tensors, f"optimizer{number}/")
        files.set_generator(self.generator, tensors, "generator")
        files.read_facts(folder, self, "try_and_learn")
