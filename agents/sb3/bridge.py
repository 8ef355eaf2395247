"""Lets this project's budgets and callbacks follow a Stable-Baselines3 algorithm."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.callbacks import BaseCallback

from agents.base import Agent, Budget, Callback
from agents.sb3.storage import Arrays, fill, is_rollout, kept


class Spent(Exception):
    """Ends learning between two rollouts, where Stable-Baselines3 asks nobody."""


class EpisodeFollower(gym.Wrapper[Any, Any, Any, Any]):
    """Stands next to the environment and tells a callback of trials and episodes.

    Vector environments reset at once when an episode ends; from here the callback sees the
    environment in the episode's last state.

    Args:
        agent: Counts the episodes and steps of its ``env``.
        callback: Follows it.
    """

    def __init__(self, agent: Agent, callback: Callback) -> None:
        super().__init__(agent.env)
        self.agent, self.callback = agent, callback
        self.infos: list[dict[str, Any]] = []
        self._random: Any = None

    def step(self, action: Mapping[str, Any]) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.agent.steps += 1
        duration = float(np.asarray(action["duration"]).item())
        self.infos.append(info | {"reward": float(reward), "duration": duration})
        self.callback.on_trial(float(reward), info)
        if terminated or truncated:
            self.callback.on_episode(self.agent.episodes, self.env, self.infos)
            self.agent.episodes += 1
        return observation, reward, terminated, truncated, info

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        if self.infos:
            self._random = deepcopy(self._generator.state)
        self.infos = []
        return self.env.reset(**arguments)

    @property
    def _generator(self) -> Any:
        return self.unwrapped.np_random.bit_generator

    @contextmanager
    def before_reset(self) -> Iterator[None]:
        """Within it, the environment's random generator is as it was after the last episode.

        A search that goes on later resets the environment by itself.
        """
        now = deepcopy(self._generator.state)
        self.forget_reset()
        try:
            yield
        finally:
            self._generator.state = now

    def forget_reset(self) -> None:
        """Put the environment's random generator back to where it was after the last episode."""
        if self._random is not None:
            self._generator.state = deepcopy(self._random)


class Bridge(BaseCallback):
    """Ends learning with the budget, and tells of updates and checkpoints.

    A rollout that the budget or a checkpoint cuts stands in ``partial``, and goes on from there.

    Args:
        follower: Counts episodes and steps.
        budget: What may be spent.
        callback: Follows the agent.
        checkpoint: Called between two episodes, when all is as it should be saved.
        partial: The beginning of a rollout (:func:`agents.sb3.storage.kept`) to go on with.
    """

    def __init__(
        self,
        follower: EpisodeFollower,
        budget: Budget,
        callback: Callback,
        checkpoint: Callable[[], None],
        partial: Arrays | None,
    ) -> None:
        super().__init__()
        self.follower, self.budget, self.callback = follower, budget, callback
        self.checkpoint, self.partial = checkpoint, partial
        self._seen, self._updates = follower.agent.episodes, -1

    def spent(self) -> bool:
        """Whether the budget is, asked between two episodes."""
        env: Any = self.follower.unwrapped
        agent = self.follower.agent
        return self.budget.spent(agent.episodes, agent.steps, env.search_macs_total)

    def _on_rollout_start(self) -> None:
        self._tell_update()
        if not self.follower.infos:
            self._between_episodes()
            if self.spent():
                raise Spent
        model: Any = self.model
        if is_rollout(model):
            if self.partial:
                fill(model.rollout_buffer, self.partial)
                self.partial = None
            # Of a rollout that was begun before, only the rest was asked for.
            model.n_steps = model.rollout_buffer.buffer_size

    def _on_step(self) -> bool:
        model: Any = self.model
        if not self.locals["dones"][0] or self._rollout_ends():
            return True  # where a rollout ends, the update comes first
        if not is_rollout(model):
            return not self.spent()
        # Stable-Baselines3 stores the step only after this callback.
        buffer, names = model.rollout_buffer, ("actions", "rewards", "values", "log_probs")
        masks = {k: v for k, v in self.locals.items() if k == "action_masks"}
        now = [self.locals[name] for name in names]
        starts = model._last_episode_starts
        buffer.add(model._last_obs, *now[:2], starts, *now[2:], **masks)
        self.partial = kept(buffer)
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
        episodes = self.follower.agent.episodes
        if episodes > self._seen:
            self._seen = episodes
            with self.follower.before_reset():
                self.checkpoint()

    def _tell_update(self) -> None:
        model: Any = self.model
        updates = model._n_updates
        if updates != self._updates and self._updates >= 0:
            found = {k.removeprefix("train/"): v for k, v in self.logger.name_to_value.items()}
            numbers = {k: float(found[k]) for k in sorted(found) if np.isscalar(found[k])}
            self.callback.on_update({k: v for k, v in numbers.items() if np.isfinite(v)})
        self._updates = updates


def learn(model: Any, bridge: Bridge) -> None:
    """Let an algorithm learn until the bridge's budget is spent.

    Args:
        model: The algorithm, with its environment.
        bridge: Ends it.
    """
    if bridge.partial and is_rollout(model):
        begun = len(bridge.partial["rewards."])
        model.n_steps = model.rollout_buffer.buffer_size - begun
    # The bridge ends it: the number only has to be beyond every budget.
    with suppress(Spent):
        model.learn(10**12, callback=bridge, log_interval=None, reset_num_timesteps=False)
