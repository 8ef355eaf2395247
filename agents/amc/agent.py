"""The agent: from the state to a keep ratio, from the ratio to a mask, and the episode's reward."""

from dataclasses import asdict
from pathlib import Path
from statistics import NormalDist
from typing import Any

import gymnasium as gym
import numpy as np

from agents import files
from agents.amc.ddpg import DDPG, Array
from agents.amc.options import AMCOptions
from agents.base import Action, Callback, EpisodicAgent, Info, Observation
from prune_gym.envs.observation import LAYER_FEATURES
from prune_gym.errors import WeightsError
from prune_gym.pruning import criteria
from prune_gym.weights import load_weights, read_weights, save_weights

STATE = (
    "index",
    "tied",
    "inputs",
    "channels",
    "stride",
    "kernel",
    "cost_share",
    "reduced",
    "rest",
    "last_keep",
)
"""The 10 entries of the authors' state, by the environment's names: layer index, type (here:
whether the space is tied), input and output channels, stride, kernel, size (here: share of MACs),
reduced so far, remaining, last action."""


class AMC(EpisodicAgent):
    """The agent.

    Args:
        env: A pruning environment with its own ``Dict`` action.
        seed: Seed of the weights and draws.
        options: Hyperparameters by name (:class:`AMCOptions`).

    Raises:
        ValueError: A hyperparameter is out of range, the criterion is unknown, or the observation
            lacks the criterion's entry.
    """

    Options = AMCOptions
    action_form = "keep_ratio"

    def __init__(self, env: gym.Env[Any, Any], seed: int = 0, **options: Any) -> None:
        super().__init__(env, seed)
        self.options = AMCOptions(**options)
        criteria.check(self.options.criterion, env)
        bounded = self.pruning.ratio_for_target() is not None
        self.reward = self.options.reward or ("error" if bounded else "return")
        size = env.observation_space["layer"].shape[0]  # type: ignore[index]
        # Other layer features, such as the toy's, are the whole state.
        known = size == len(LAYER_FEATURES)
        self._entries = [LAYER_FEATURES.index(n) for n in STATE] if known else list(range(size))
        self.random = np.random.default_rng(seed)
        self.learner = DDPG(len(self._entries), self.options, seed)
        self.played = 0
        self._seen: list[tuple[Array, float]] = []

    # Acting

    def act(
        self, observation: Observation, info: Info | None = None, deterministic: bool = False
    ) -> Action:
        """See :meth:`agents.base.Agent.act`; a drawn action has the present noise."""
        state = self._state(observation)
        chosen = self.learner.action(state)
        return self._action(chosen if deterministic else self._noisy(chosen), observation)

    def _state(self, observation: Observation) -> Array:
        return np.asarray(observation["layer"], np.float32)[self._entries]

    def _action(self, chosen: float, observation: Observation) -> Action:
        """Convert a number within [0, 1] to the environment's action."""
        own = self.options
        ratio = own.least + (1 - own.least) * chosen
        return criteria.action(own.criterion, observation, self.env, ratio, own.duration)

    def _spread(self) -> float:
        past = max(0, self.played - self.options.warmup_episodes)
        return max(1e-6, self.options.noise * self.options.noise_decay**past)

    def _noisy(self, mean: float) -> float:
        """Draw from the normal distribution around an action, truncated to [0, 1]."""
        normal = NormalDist(mean, self._spread())
        level = self.random.uniform(normal.cdf(0.0), normal.cdf(1.0))
        return min(1.0, max(0.0, normal.inv_cdf(min(1 - 1e-12, max(1e-12, level)))))

    # Learning

    def begin_episode(self) -> None:
        """Forget the last episode's states and actions."""
        self._seen = []

    def decide(self, observation: Observation, callback: Callback) -> tuple[Action, int]:
        """Draw a ratio during the warm-up, then use the actor's with noise; nothing is tried."""
        state = self._state(observation)
        if self.played < self.options.warmup_episodes:
            chosen = float(self.random.uniform())
        else:
            chosen = self._noisy(self.learner.action(state))
        self._seen.append((state, chosen))
        return self._action(chosen, observation), 0

    def end_episode(self, observation: Observation, infos: list[Info], callback: Callback) -> None:
        """Add the steps to the memory, each with the episode's reward, and learn."""
        reward = self.episode_reward(infos)
        following = [state for state, _ in self._seen[1:]] + [self._state(observation)]
        warm = self.played >= self.options.warmup_episodes
        metrics: dict[str, float] = {}
        for number, ((state, chosen), after) in enumerate(zip(self._seen, following, strict=True)):
            ended = float(number == len(self._seen) - 1)
            self.learner.memory.add(state, chosen, reward, after, ended)
            for _ in range(self.options.updates if warm else 0):
                metrics = self.learner.update(self.random)
        callback.on_update(metrics | {"reward": reward, "noise": self._spread()})
        self.played += 1

    def episode_reward(self, infos: list[Info]) -> float:
        """Return the reward of an episode (He et al. 2018, section 3.3: R_err and R_FLOPs).

        Args:
            infos: Info of each step, with the step's ``reward``.
        """
        if self.reward == "return":
            return float(sum(info["reward"] for info in infos))
        error = 1 - infos[-1]["accuracy"]
        return float(-error if self.reward == "error" else -error * np.log(infos[-1]["macs"]))

    # Files

    def save(self, folder: Path) -> None:
        """Write the actor, and what learning needs to continue (:mod:`agents.files`)."""
        save_weights(self.learner.actor, folder / files.POLICY)
        files.save_tensors(folder / files.TRAINING, self.learner.tensors())
        files.write_facts(
            folder,
            self,
            "amc",
            options=asdict(self.options),
            random=self.random.bit_generator.state,
            played=self.played,
            added=self.learner.memory.added,
            baseline=self.learner.baseline,
        )

    def load(self, folder: Path) -> None:
        """See :meth:`agents.base.Agent.load`."""
        load_weights(self.learner.actor, folder / files.POLICY)
        tensors = read_weights(folder / files.TRAINING)
        facts = files.read_facts(folder, self, "amc")
        try:
            played, added, baseline = (facts[name] for name in ("played", "added", "baseline"))
        except KeyError as error:
            raise WeightsError(f"The policy in {str(folder)!r} lacks {error}.") from error
        files.set_random(self.random, facts.get("random"))
        self.learner.set_tensors(tensors, int(added))
        self.learner.baseline = baseline
        self.played = int(played)
