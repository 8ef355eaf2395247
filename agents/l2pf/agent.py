"""The agent: tries candidates, learns from them, carries out the best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal

from agents import files
from agents.base import Action, Callback, EpisodicAgent, Observation
from agents.l2pf.options import L2PFOptions
from agents.l2pf.policy import FilterPolicy, Inputs, Reader, logit_scale, normalised
from agents.l2pf.trials import TASKS, Draw, Trial, action_of, try_layer, try_stage
from agents.start import DEFAULT_KEEP, shift_to_rest, with_initial_keep
from prune_gym.envs.reward import TargetReward
from prune_gym.weights import load_weights, read_weights, save_weights


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
        self.options = with_initial_keep(L2PFOptions(**options), env)
        follow = self.options.follow_target
        reward = getattr(env.unwrapped, "reward_function", None)
        self._follows = isinstance(reward, TargetReward) if follow is None else follow
        self.generator = torch.Generator().manual_seed(seed)
        self.read = Reader(env.observation_space)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.policy = FilterPolicy(self.read.row, self.read.layer, self.options)
        self.optimizer = torch.optim.Adam(self.policy.parameters(), self.options.learning_rate)
        self._planned: list[Action] = []

    # Acting

    def act(
        self,
        observation: Observation,
        info: Mapping[str, Any] | None = None,
        deterministic: bool = False,
    ) -> Action:
        """See :meth:`agents.base.Agent.act`."""
        inputs = self._read(observation)
        keep, duration = self._of(inputs)
        if deterministic:
            return action_of(keep.probs > 0.5, self._fixed(duration.mean))
        return self._draw(inputs, keep, duration).action()

    def _read(self, observation: Observation) -> Inputs:
        """The environment's present observation; it alone knows what its target still needs."""
        if not self._follows:
            return self.read(observation)
        keep = self.options.initial_keep or DEFAULT_KEEP
        scale = logit_scale(self.options.norm_prior)
        return self.read(observation, scale * shift_to_rest(self.env, keep))

    @torch.no_grad()
    def _of(self, inputs: Inputs) -> tuple[Bernoulli, Normal]:
        keep, duration = self.policy(inputs)
        return keep, duration

    def _draw(self, inputs: Inputs, keep: Bernoulli, duration: Normal) -> Draw:
        """Bits and log-duration from the agent's own generator."""
        bits = torch.rand(keep.probs.shape, generator=self.generator) < keep.probs
        noise = torch.randn((), generator=self.generator)
        return Draw(inputs, bits, self._fixed(duration.mean + duration.stddev * noise))

    def _fixed(self, log_duration: Tensor) -> Tensor:
        """A log-duration, or the one that the options fix."""
        fixed = self.options.fixed_duration
        return log_duration if fixed is None else torch.tensor(fixed).log()

    # Learning

    def begin_episode(self) -> None:
        """Nothing is left to carry out of a stage that the last episode broke off."""
        self._planned = []

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Update the policy on candidates from the present state; choose the best of them."""
        tried = 0
        if not self._planned:
            best, tried = self._search(observation, callback)
            self._planned = [draw.action() for draw in best.draws]
        return self._planned.pop(0), tried

    def _search(self, observation: Observation, callback: Callback) -> tuple[Trial, int]:
        """The best candidate of all updates, and how many steps they took."""
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
        """Candidates from the present state, which is left as it was."""
        env: Any = self.env.unwrapped
        count, inputs = self.options.candidates, self._read(observation)
        first = self._of(inputs)
        if self.options.granularity in ("layer", 1):
            draws = [self._draw(inputs, *first) for _ in range(count)]
            return try_layer(env, draws, callback.on_trial)

        def draw(seen: Observation) -> Draw:
            if seen is observation:
                return self._draw(inputs, *first)
            later = self._read(seen)
            return self._draw(later, *self._of(later))

        def goes_on(layers: int, seen: Observation) -> bool:
            if self.options.granularity == "stage":
                return bool(seen["action_mask"].sum() == observation["action_mask"].sum())
            return layers < int(self.options.granularity)

        return [try_stage(env, observation, draw, goes_on, callback.on_trial) for _ in range(count)]

    def update(self, trials: Sequence[Trial]) -> dict[str, float]:
        """One REINFORCE step; each task learns from its own normalised reward.

        Args:
            trials: Of as many layers each.

        Returns:
            What the step measured, by name.
        """
        parts = [self._likelihood(layer) for layer in zip(*(t.draws for t in trials), strict=True)]
        rewards = {task: torch.tensor([trial.rewards[task] for trial in trials]) for task in TASKS}
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
        """Log-probabilities of the candidates' draws in one layer, shape (candidates,)."""
        keep, duration, valid = self._distributions([draw.inputs for draw in draws])
        bits = torch.stack([draw.bits for draw in draws]).float()
        times = torch.stack([draw.log_duration for draw in draws])
        return {
            # Padded bits are no choice of the policy's, so they are left out.
            "keep": (keep.log_prob(bits) * valid).sum(1),
            "duration": duration.log_prob(times),
            "entropy": keep.entropy()[valid].mean(),
            "mean_keep": keep.probs.detach()[valid].mean(),
            "mean_duration": duration.mean.detach().exp().mean(),
        }

    def _distributions(self, inputs: Sequence[Inputs]) -> tuple[Bernoulli, Normal, Tensor]:
        """Of all candidates; those of one state have one distribution."""
        if all(own is inputs[0] for own in inputs):
            keep, duration = self.policy(inputs[0])
            return keep, duration, inputs[0].valid
        both = [self.policy(own) for own in inputs]
        keep = Bernoulli(logits=torch.stack([own.logits for own, _ in both]))
        mean, spread = (torch.stack([getattr(d, n) for _, d in both]) for n in ("mean", "stddev"))
        return keep, Normal(mean, spread), torch.stack([own.valid for own in inputs])

    # Files

    def save(self, folder: Path) -> None:
        """Write the policy, and what going on with learning needs (:mod:`agents.files`)."""
        save_weights(self.policy, folder / files.POLICY)
        tensors = files.optimizer_tensors(self.optimizer, "optimizer/")
        tensors["generator"] = self.generator.get_state()
        files.save_tensors(folder / files.TRAINING, tensors)
        files.write_facts(folder, self, "l2pf", options=asdict(self.options))

    def load(self, folder: Path) -> None:
        """Read what :meth:`save` wrote; learning goes on from there.

        Raises:
            WeightsError: It is missing, damaged, or of a policy of another shape.
        """
        load_weights(self.policy, folder / files.POLICY)
        tensors = read_weights(folder / files.TRAINING)
        files.set_optimizer(self.optimizer, tensors, "optimizer/")
        files.set_generator(self.generator, tensors, "generator")
        files.read_facts(folder, self, "l2pf")
