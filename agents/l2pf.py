"""L2PF: learn which filters to keep, and how long to fine-tune, by trying (Vemparala et al. 2021).

The body of the paper could not be read, so this is this project's formulation of its abstract,
on the ground of Huang et al. 2018 ("Learning to Prune Filters in Convolutional Neural
Networks"): a policy over a layer's filters, one Bernoulli each and a log-normal duration for all;
several candidates are tried from the same state; REINFORCE with each task's reward normalised to
zero mean and unit variance; the best candidate is carried out; the next layer; then a new episode
from the unpruned network.

Reads from top to bottom: options, policy, agent.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.base import Action, Callback, EpisodicAgent, Observation
from prune_gym.files import write_json
from prune_gym.weights import load_weights, save_weights

EPSILON = 1e-6


@dataclass(frozen=True)
class L2PFOptions:
    """Hyperparameters. All defaults are this project's choice, by measurement on ``shapes``.

    Args:
        candidates: Actions tried from one state for one update.
        updates: Updates of the policy in each layer, before its best candidate is carried out.
        learning_rate: Of Adam.
        hidden: Width of the policy.
        initial_keep: Share of filters that the untrained policy keeps.
        norm_prior: What one standard deviation of a filter's norm adds to its logit at first.
        initial_duration: Median duration of the untrained policy, above 0, at most 1.
        initial_spread: Standard deviation of its logarithm.
        entropy_bonus: Weight of the Bernoullis' entropy in the loss.
    """

    candidates: int = 4
    updates: int = 3
    learning_rate: float = 3e-3
    hidden: int = 64
    initial_keep: float = 0.5
    norm_prior: float = 1.0
    initial_duration: float = 0.1
    initial_spread: float = 0.8
    entropy_bonus: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("candidates", "updates", "hidden"):
            if getattr(self, name) < (2 if name == "candidates" else 1):
                raise ValueError(f"{name}={getattr(self, name)} is too small")
        for name in ("initial_keep", "initial_duration"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie between 0 and 1")
        for name in ("learning_rate", "initial_spread"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")


class FilterPolicy(nn.Module):
    """A small network that every filter of a layer goes through, with two heads.

    A filter's row and the layer's features are encoded; the mean over the filters is the layer's
    summary; each filter's logit sees its own code and the summary, the duration the summary.
    So the same weights serve layers of any width, and padding changes nothing.

    Args:
        row: Entries of a filter's row.
        layer: Layer features.
        options: Width and the untrained policy.
    """

    def __init__(self, row: int, layer: int, options: L2PFOptions) -> None:
        super().__init__()
        hidden = options.hidden
        self.encode = nn.Sequential(nn.Linear(row + layer, hidden), nn.ReLU())
        self.keep = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        self.duration = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 2))
        self.prior = nn.Parameter(torch.tensor(float(options.norm_prior)))
        keep = torch.logit(torch.tensor([options.initial_keep]))
        duration = torch.tensor([options.initial_duration, options.initial_spread]).log()
        for head, bias in ((self.keep, keep), (self.duration, duration)):
            last = head[-1]
            assert isinstance(last, nn.Linear)
            # At first the heads say the same of every layer: what the options ask for.
            nn.init.zeros_(last.weight)
            last.bias.data.copy_(bias)

    def forward(
        self, rows: Tensor, norms: Tensor, layer: Tensor, valid: Tensor
    ) -> tuple[torch.distributions.Bernoulli, torch.distributions.Normal]:
        """The distributions of one layer's action.

        Args:
            rows: Shape (n_max, row).
            norms: Standardised norms of the filters, shape (n_max,).
            layer: Shape (layer,).
            valid: Boolean, shape (n_max,).

        Returns:
            Bernoullis over the filters, shape (n_max,), and the normal of the log-duration.
        """
        code = self.encode(torch.cat([rows, layer.expand(len(rows), -1)], dim=1))
        summary = code[valid].mean(dim=0)
        both = torch.cat([code, summary.expand_as(code)], dim=1)
        logits = self.keep(both).squeeze(1) + self.prior * norms
        mean, log_spread = self.duration(summary)
        return (
            torch.distributions.Bernoulli(logits=logits),
            torch.distributions.Normal(mean, log_spread.clamp(-3, 1).exp()),
        )


@dataclass(frozen=True)
class _Inputs:
    """An observation as the policy takes it."""

    rows: Tensor
    norms: Tensor
    layer: Tensor
    valid: Tensor


class L2PF(EpisodicAgent):
    """The agent.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        seed: Of the policy's weights and draws.
        options: Hyperparameters by name.

    Raises:
        ValueError: Another action space, or a hyperparameter out of range.
    """

    Options = L2PFOptions

    def __init__(self, env: gym.Env, seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        if not isinstance(env.action_space, spaces.Dict):
            raise ValueError(f"l2pf needs the Dict action space, not {env.action_space}")
        self.options = L2PFOptions(**options)
        self.generator = torch.Generator().manual_seed(seed)
        sizes = {key: entry.shape[0] for key, entry in _entries(env.observation_space).items()}
        # What holds so many numbers for each filter describes the filters; the rest, the layer.
        width = sizes["action_mask"]
        self._filter_keys = [
            key
            for key, size in sizes.items()
            if key not in ("action_mask", "layer") and size % width == 0
        ]
        row = sum(sizes[key] // width for key in self._filter_keys)
        layer = sizes["layer"]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = FilterPolicy(row, layer, self.options)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), self.options.learning_rate)

    # Acting

    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """See :meth:`agents.base.Agent.act`."""
        with torch.no_grad():
            keep, duration = self._distributions(self._inputs(observation))
        if deterministic:
            return _action(keep.probs > 0.5, duration.mean)
        return _action(*self._draw(keep, duration))

    def _inputs(self, observation: Observation) -> _Inputs:
        valid = torch.from_numpy(np.asarray(observation["action_mask"]).astype(bool))
        columns = [
            torch.from_numpy(np.asarray(observation[key])).float().reshape(len(valid), -1)
            for key in self._filter_keys
        ]
        rows = torch.cat(columns, dim=1)
        size = (
            rows.abs().sum(1)
            if "l2" not in observation
            else torch.from_numpy(np.asarray(observation["l2"]))
        )
        kept = size[valid]
        norms = (size - kept.mean()) / kept.std(unbiased=False).clamp_min(EPSILON)
        layer = torch.from_numpy(np.asarray(observation["layer"])).float()
        return _Inputs(rows, norms * valid, layer, valid)

    def _distributions(
        self, inputs: _Inputs
    ) -> tuple[torch.distributions.Bernoulli, torch.distributions.Normal]:
        return self.policy(inputs.rows, inputs.norms, inputs.layer, inputs.valid)

    def _draw(
        self, keep: torch.distributions.Bernoulli, duration: torch.distributions.Normal
    ) -> tuple[Tensor, Tensor]:
        """Bits and log-duration from the agent's own generator."""
        bits = torch.rand(keep.probs.shape, generator=self.generator) < keep.probs
        noise = torch.randn((), generator=self.generator)
        return bits, duration.mean + duration.stddev * noise

    # Learning

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Update the policy on candidates from the present state; choose the best of them."""
        env: Any = self.env.unwrapped
        inputs = self._inputs(observation)
        best: tuple[float, Action] | None = None
        for _ in range(self.options.updates):
            with torch.no_grad():
                distributions = self._distributions(inputs)
            draws = [self._draw(*distributions) for _ in range(self.options.candidates)]
            actions = [_action(*draw) for draw in draws]
            results = env.try_actions(actions)
            for action, (reward, info) in zip(actions, results, strict=True):
                callback.on_trial(reward, info)
                if best is None or reward > best[0]:
                    best = (reward, action)
            callback.on_update(self._update(inputs, draws, [info for _, info in results]))
        assert best is not None
        return best[1], self.options.updates * self.options.candidates

    def _update(
        self,
        inputs: _Inputs,
        draws: list[tuple[Tensor, Tensor]],
        infos: list[dict[str, Any]],
    ) -> dict[str, float]:
        """One REINFORCE step; each task learns from its own normalised reward."""
        keep, duration = self._distributions(inputs)
        bits = torch.stack([draw[0] for draw in draws]).float()
        times = torch.stack([draw[1] for draw in draws])
        # Padded bits are no choice of the policy's, so they are left out.
        log_keep = (keep.log_prob(bits) * inputs.valid).sum(1)
        log_duration = duration.log_prob(times)
        rewards = {
            task: torch.tensor([info["rewards"][task] for info in infos])
            for task in ("prune", "duration")
        }
        entropy = keep.entropy()[inputs.valid].mean()
        loss = -(
            _normalised(rewards["prune"]) * log_keep
            + _normalised(rewards["duration"]) * log_duration
        ).mean()
        self.optimizer.zero_grad()
        (loss - self.options.entropy_bonus * entropy).backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        return {
            "loss": float(loss.detach()),
            "entropy": float(entropy.detach()),
            "keep": float(keep.probs.detach()[inputs.valid].mean()),
            "duration": float(duration.mean.detach().exp()),
            "reward_prune": float(rewards["prune"].mean()),
            "reward_duration": float(rewards["duration"].mean()),
        }

    # Files

    def save(self, folder: Path) -> None:
        """Write ``policy.safetensors`` and ``policy.json``."""
        save_weights(self.policy, folder / "policy.safetensors")
        write_json(folder / "policy.json", {"agent": "l2pf", "options": asdict(self.options)})

    def load(self, folder: Path) -> None:
        """Read the policy's weights.

        Raises:
            WeightsError: They are missing, damaged, or of a policy of another shape.
        """
        load_weights(self.policy, folder / "policy.safetensors")


def _entries(space: spaces.Space) -> dict[str, Any]:
    assert isinstance(space, spaces.Dict)
    return dict(space.spaces)


def _action(bits: Tensor, log_duration: Tensor) -> Action:
    duration = min(1.0, float(log_duration.exp()))
    return {
        "mask": bits.numpy().astype(np.int8),
        "duration": np.array([duration], np.float32),
    }


def _normalised(rewards: Tensor) -> Tensor:
    spread = rewards.std(unbiased=False)
    if spread < EPSILON:
        return torch.zeros_like(rewards)
    return (rewards - rewards.mean()) / spread
