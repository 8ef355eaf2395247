"""Connects a Stable-Baselines3 algorithm to this project's budgets and callbacks."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agents.base import Agent, Budget, Callback, Info
from agents.sb3.storage import Arrays, buffer_arrays, is_rollout, set_buffer_arrays


class BudgetSpent(Exception):
    """Ends learning between two rollouts, where Stable-Baselines3 calls no callback that can."""


class EpisodeWatcher(gym.Wrapper[Any, Any, Any, Any]):
    """Counts an agent's episodes and steps, and reports them to a callback.

    Vector environments reset as soon as an episode ends. This wrapper lies inside of them, so the
    callback sees the environment in the episode's last state.

    Args:
        agent: Agent whose ``env`` is wrapped and whose ``episodes`` and ``steps`` are counted.
        callback: Callback that follows the agent.
    """

    def __init__(self, agent: Agent, callback: Callback) -> None:
        super().__init__(agent.env)
        self.agent, self.callback = agent, callback
        self.infos: list[Info] = []
        self._random: Mapping[str, Any] | None = None

    def step(self, action: Mapping[str, Any]) -> tuple[Any, Any, bool, bool, Info]:
        """Execute an action and report it."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.agent.steps += 1
        duration = float(np.asarray(action["duration"]).item())
        self.infos.append(info | {"reward": float(reward), "duration": duration})
        self.callback.on_trial(float(reward), info)
        if terminated or truncated:
            self.callback.on_episode(self.agent.episodes, self.env, self.infos)
            self.agent.episodes += 1
        return observation, reward, terminated, truncated, info

    def reset(self, **arguments: Any) -> tuple[Any, Info]:
        """Reset the environment."""
        if self.infos:
            self._random = deepcopy(self.agent.pruning.np_random.bit_generator.state)
        self.infos = []
        return self.env.reset(**arguments)

    def undo_reset(self) -> None:
        """Give the environment's random generator the state before the last reset."""
        if self._random is not None:
            self.agent.pruning.np_random.bit_generator.state = deepcopy(self._random)


class BudgetCallback(BaseCallback):
    """Ends learning when the budget is spent, and reports updates and checkpoints.

    If the budget or a checkpoint interrupts a rollout, ``partial`` holds its beginning, from which
    learning continues.

    Args:
        watcher: Wrapper that counts episodes and steps.
        budget: Budget of the search.
        callback: Callback that follows the agent.
        checkpoint: Function called between two episodes, when the agent can be saved.
        partial: Beginning of a rollout to continue
            (:func:`agents.sb3.storage.buffer_arrays`), or None.
    """

    def __init__(
        self,
        watcher: EpisodeWatcher,
        budget: Budget,
        callback: Callback,
        checkpoint: Callable[[], None],
        partial: Arrays | None,
    ) -> None:
        super().__init__()
        self.watcher, self.budget, self.callback = watcher, budget, callback
        self.checkpoint, self.partial = checkpoint, partial
        self._seen, self._updates = watcher.agent.episodes, -1

    def spent(self) -> bool:
        """Return whether the budget is spent; asked between two episodes."""
        agent = self.watcher.agent
        return self.budget.spent(agent.episodes, agent.steps, agent.pruning.search_macs_total)

    def _on_rollout_start(self) -> None:
        model: Any = self.model
        if 0 <= self._updates != model._n_updates:
            found = {k.removeprefix("train/"): v for k, v in self.logger.name_to_value.items()}
            numbers = {k: float(found[k]) for k in sorted(found) if np.isscalar(found[k])}
            self.callback.on_update({k: v for k, v in numbers.items() if np.isfinite(v)})
        self._updates = model._n_updates
        if not self.watcher.infos:
            self._between_episodes()
            if self.spent():
                raise BudgetSpent
        if is_rollout(model):
            if self.partial:
                set_buffer_arrays(model.rollout_buffer, self.partial)
                self.partial = None
            # learn() had asked for the rest of a partial rollout; the next one is whole.
            model.n_steps = model.rollout_buffer.buffer_size

    def _on_step(self) -> bool:
        model: Any = self.model
        if not self.locals["dones"][0] or self._rollout_ends():
            return True  # at the end of a rollout the update comes first
        if not is_rollout(model):
            return not self.spent()
        # Stable-Baselines3 stores the step only after this callback.
        buffer, names = model.rollout_buffer, ("actions", "rewards", "values", "log_probs")
        masks = {k: v for k, v in self.locals.items() if k == "action_masks"}
        now = [self.locals[name] for name in names]
        starts = model._last_episode_starts
        buffer.add(model._last_obs, *now[:2], starts, *now[2:], **masks)
        self.partial = buffer_arrays(buffer)
        self._between_episodes()
        if self.spent():
            return False
        self.partial = None
        buffer.pos -= 1
        return True

    def _rollout_ends(self) -> bool:
        model: Any = self.model
        if is_rollout(model):
            buffer = model.rollout_buffer
            return bool(buffer.pos + 1 >= buffer.buffer_size)
        return bool(self.locals["num_collected_steps"] >= self.locals["train_freq"].frequency)

    def _between_episodes(self) -> None:
        episodes = self.watcher.agent.episodes
        if episodes > self._seen:
            self._seen = episodes
            # A search that continues from a checkpoint resets the environment itself.
            generator = self.watcher.agent.pruning.np_random.bit_generator
            now = deepcopy(generator.state)
            self.watcher.undo_reset()
            try:
                self.checkpoint()
            finally:
                generator.state = now


def learn(model: Any, within: BudgetCallback) -> None:
    """Let an algorithm of Stable-Baselines3 learn until the budget is spent."""
    if within.partial and is_rollout(model):
        begun = len(within.partial["rewards."])
        model.n_steps = model.rollout_buffer.buffer_size - begun
    # The callback ends learning; this number of steps only has to exceed every budget.
    with suppress(BudgetSpent):
        model.learn(10**12, callback=within, log_interval=None, reset_num_timesteps=False)
