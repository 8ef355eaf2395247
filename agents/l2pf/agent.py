"""The agent: tries candidates, learns from their rewards and executes the best one."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from agents.common.filters import Inputs, Reader, normalised
from agents.common.keep_ratio import DEFAULT_KEEP, shift_to_rest, with_initial_keep
from agents.l2pf.options import L2PFOptions
from agents.l2pf.policy import Draw, FilterPolicy, logit_scale
from prune_gym.weights import load_weights, read_weights, save_weights

COMPONENTS = ("prune", "duration")
"""Components of the reward, from which the bits and the durations learn."""


@dataclass
class Trial:
    """A candidate and its rewards.

    Args:
        draws: Actions of the candidate, one a layer.
        rewards: Reward components, summed over the layers.
        total: The environment's reward, summed over the layers.
        complete: Whether the candidate was played to its last layer; False if the environment
            truncated the episode before.
    """

    draws: list[Draw]
    rewards: dict[str, float] = field(default_factory=lambda: dict.fromkeys(COMPONENTS, 0.0))
    total: float = 0.0
    complete: bool = True

    def add(self, reward: float, info: Info) -> None:
        """Add the reward of one layer."""
        self.total += reward
        for name in COMPONENTS:
            self.rewards[name] += info["rewards"][name]


class L2PF(EpisodicAgent):
    """The agent.

    Args:
        env: A pruning environment with the hybrid ``Dict`` action.
        seed: Seed of the policy's weights and draws.
        options: Hyperparameters by name (:class:`L2PFOptions`).

    Raises:
        ValueError: The environment has another action space, or a hyperparameter is out of range.
    """

    Options = L2PFOptions

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        self.options = with_initial_keep(L2PFOptions(**options), env)
        follow = self.options.follow_target
        self._follows = self.pruning.pays_to_target if follow is None else follow
        self.generator = torch.Generator().manual_seed(seed)
        self.read = Reader(env.observation_space)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = FilterPolicy(self.read.row, self.read.layer, self.options)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), self.options.learning_rate)
        self._planned: list[Action] = []

    # Acting

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """See :meth:`agents.base.Agent.act`."""
        inputs = self._read(observation)
        keep, duration = self._distribution(inputs)
        if deterministic:
            return Draw(inputs, keep.probs > 0.5, self._fixed(duration.mean)).action()
        return self._draw(inputs, keep, duration).action()

    def _read(self, observation: Observation) -> Inputs:
        """Convert the environment's present observation; the shift depends on its present state."""
        if not self._follows:
            return self.read(observation)
        keep = self.options.initial_keep or DEFAULT_KEEP
        scale = logit_scale(self.options.norm_prior)
        return self.read(observation, scale * shift_to_rest(self.env, keep))

    @torch.no_grad()
    def _distribution(self, inputs: Inputs) -> tuple[Bernoulli, Normal]:
        keep, duration = self.policy(inputs)
        return keep, duration

    def _draw(self, inputs: Inputs, keep: Bernoulli, duration: Normal) -> Draw:
        """Draw bits and log-duration from the agent's own generator."""
        bits = torch.rand(keep.probs.shape, generator=self.generator) < keep.probs
        noise = torch.randn((), generator=self.generator)
        return Draw(inputs, bits, self._fixed(duration.mean + duration.stddev * noise))

    def _fixed(self, log_duration: Tensor) -> Tensor:
        """Return the fixed duration's logarithm if the options have one, else ``log_duration``."""
        fixed = self.options.fixed_duration
        return log_duration if fixed is None else torch.tensor(fixed).log()

    # Learning

    def begin_episode(self) -> None:
        """Forget the planned actions of a stage that was truncated."""
        self._planned = []

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Update the policy on candidates from the present state and choose the best of them."""
        tried = 0
        if not self._planned:
            best, tried = self._search(observation, callback)
            self._planned = [draw.action() for draw in best.draws]
        return self._planned.pop(0), tried

    def _search(self, observation: Observation, callback: Callback) -> tuple[Trial, int]:
        """Return the best candidate of all updates, and the number of steps tried."""
        best: Trial | None = None
        tried = 0
        for _ in range(self.options.updates):
            trials = self._try(observation, callback)
            tried += sum(len(trial.draws) for trial in trials)
            for trial in trials:
                better = best is None or not best.complete or trial.total > best.total
                if better and (best is None or trial.complete):
                    best = trial
            if not all(trial.complete for trial in trials):
                break  # the environment's budget is spent
            metrics = self.update(trials)
            callback.on_update(metrics)
            if metrics["entropy"] < self.options.converged_entropy:
                break
        assert best is not None
        return best, tried

    def _try(self, observation: Observation, callback: Callback) -> list[Trial]:
        """Try candidates from the present state, which is restored."""
        inputs = self._read(observation)
        keep, duration = self._distribution(inputs)
        candidates = range(self.options.candidates)
        if self.options.granularity not in ("layer", 1):
            return [
                self._try_stage(observation, self._draw(inputs, keep, duration), callback)
                for _ in candidates
            ]
        trials = [Trial([self._draw(inputs, keep, duration)]) for _ in candidates]
        results = self.pruning.try_actions([trial.draws[0].action() for trial in trials])
        for trial, (reward, info) in zip(trials, results, strict=True):
            trial.add(reward, info)
            callback.on_trial(reward, info)
        return trials

    def _try_stage(self, observation: Observation, first: Draw, callback: Callback) -> Trial:
        """Play a candidate of several layers; each draw depends on the layers before it."""
        env, trial, filters = self.pruning, Trial([first]), observation["action_mask"].sum()
        before = env.snapshot()
        try:
            while True:
                action = trial.draws[-1].action()
                observation, reward, terminated, truncated, info = env.step(action)
                trial.add(float(reward), info)
                callback.on_trial(float(reward), info)
                if terminated or not self._in_stage(len(trial.draws), observation, filters):
                    return trial
                if truncated:
                    trial.complete = False
                    return trial
                inputs = self._read(observation)
                trial.draws.append(self._draw(inputs, *self._distribution(inputs)))
        finally:
            env.restore(before)

    def _in_stage(self, layers: int, observation: Observation, filters: int) -> bool:
        """Return whether the next layer belongs to the stage, which has ``layers`` so far."""
        if self.options.granularity == "stage":
            return bool(observation["action_mask"].sum() == filters)
        return layers < int(self.options.granularity)

    def update(self, trials: Sequence[Trial]) -> dict[str, float]:
        """Take one REINFORCE step; bits and durations learn from their own reward components.

        Args:
            trials: Candidates, all with the same number of layers.

        Returns:
            Metrics of the step by name.
        """
        parts = [self._likelihood(layer) for layer in zip(*(t.draws for t in trials), strict=True)]
        rewards = {name: torch.tensor([t.rewards[name] for t in trials]) for name in COMPONENTS}
        if self.options.duration_learns == "total":
            rewards["duration"] = torch.tensor([trial.total for trial in trials])
        log_keep: Any = sum(part["keep"] for part in parts)
        log_duration: Any = sum(part["duration"] for part in parts)
        entropy = torch.stack([part["entropy"] for part in parts]).mean()
        advantage = normalised(rewards["prune"]) * log_keep
        if self.options.fixed_duration is None:
            advantage = advantage + normalised(rewards["duration"]) * log_duration
        loss = -advantage.mean()
        self.optimizer.zero_grad()
        (loss - self.options.entropy_bonus * entropy).backward()
        nn.utils.clip_grad_norm_(self.policy.parameters(), 1.0)
        self.optimizer.step()
        return {
            "loss": float(loss.detach()),
            "entropy": float(entropy.detach()),
            "keep": float(torch.stack([part["mean_keep"] for part in parts]).mean()),
            "duration": float(torch.stack([part["mean_duration"] for part in parts]).mean()),
            "reward_prune": float(rewards["prune"].mean()),
            "reward_duration": float(rewards["duration"].mean()),
        }

    def _likelihood(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        """Return log-probabilities, shape (candidates,), and means of the draws in one layer."""
        keep, duration, valid = self._distributions([draw.inputs for draw in draws])
        bits = torch.stack([draw.bits for draw in draws]).float()
        times = torch.stack([draw.log_duration for draw in draws])
        return {
            # The policy does not choose padded bits, so they do not count.
            "keep": (keep.log_prob(bits) * valid).sum(1),
            "duration": duration.log_prob(times),
            "entropy": keep.entropy()[valid].mean(),
            "mean_keep": keep.probs.detach()[valid].mean(),
            "mean_duration": duration.mean.detach().exp().mean(),
        }

    def _distributions(self, inputs: Sequence[Inputs]) -> tuple[Bernoulli, Normal, Tensor]:
        """Return the candidates' distributions; those from one state share one."""
        if all(own is inputs[0] for own in inputs):
            keep, duration = self.policy(inputs[0])
            return keep, duration, inputs[0].valid
        both = [self.policy(own) for own in inputs]
        keep = Bernoulli(logits=torch.stack([own.logits for own, _ in both]))
        mean, spread = (torch.stack([getattr(d, n) for _, d in both]) for n in ("mean", "stddev"))
        return keep, Normal(mean, spread), torch.stack([own.valid for own in inputs])

    # Files

    def save(self, folder: Path) -> None:
        """Write the policy, and what learning needs to continue (:mod:`agents.files`)."""
        save_weights(self.policy, folder / files.POLICY)
        tensors = files.optimizer_tensors(self.optimizer, "optimizer/")
        tensors["generator"] = self.generator.get_state()
        files.save_tensors(folder / files.TRAINING, tensors)
        files.write_facts(folder, self, "l2pf", options=asdict(self.options))

    def load(self, folder: Path) -> None:
        """See :meth:`agents.base.Agent.load`."""
        load_weights(self.policy, folder / files.POLICY)
        tensors = read_weights(folder / files.TRAINING)
        files.set_optimizer(self.optimizer, tensors, "optimizer/")
        files.set_generator(self.generator, tensors, "generator")
        files.read_facts(folder, self, "l2pf")
