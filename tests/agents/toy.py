"""A toy with the environment's interface whose best action is known; it learns in seconds."""

import gymnasium as gym
import numpy as np
from gymnasium import spaces

WIDTH = 8
BEST_DURATION = 0.3


class ToyPruning(gym.Env):
    """Three layers of filters; the ones with positive ``bn_scale`` should stay.

    The norm says nothing here, so an agent has to learn what counts. Rewards are those of the
    real environment by name: ``prune`` the share of right bits, ``duration`` the closeness to
    ``BEST_DURATION``.
    """

    def __init__(self, layers: int = 3) -> None:
        self.layers = layers
        self.observation_space = spaces.Dict(
            {
                "action_mask": spaces.MultiBinary(WIDTH),
                "layer": spaces.Box(0, 1, (2,), np.float32),
                "progress": spaces.Box(0, 1, (1,), np.float32),
                "l2": spaces.Box(-10, 10, (WIDTH,), np.float32),
                "bn_scale": spaces.Box(-10, 10, (WIDTH,), np.float32),
            }
        )
        self.action_space = spaces.Dict(
            {"duration": spaces.Box(0, 1, (1,), np.float32), "mask": spaces.MultiBinary(WIDTH)}
        )
        self.search_macs_total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.position = 0
        return self._next(), {"action_mask": self.valid}

    def _next(self):
        filters = WIDTH - self.position  # the last layers are padded
        self.valid = (np.arange(WIDTH) < filters).astype(np.int8)
        self.scale = self.np_random.normal(size=WIDTH).astype(np.float32) * self.valid
        return {
            "action_mask": self.valid,
            "layer": np.array([self.position / self.layers, 1], np.float32),
            "progress": np.array([self.position / self.layers], np.float32),
            "l2": self.np_random.random(WIDTH).astype(np.float32) * self.valid,
            "bn_scale": self.scale,
        }

    def best_mask(self):
        return (self.scale > 0).astype(np.int8)

    def _pay(self, action):
        right = (action["mask"] == self.best_mask())[self.valid.astype(bool)].mean()
        duration = -abs(float(action["duration"][0]) - BEST_DURATION)
        rewards = {"prune": float(right), "duration": duration}
        return float(right + duration), {
            "rewards": rewards,
            "position": self.position + 1,
            "accuracy": float(right),
            "cost_ratio": 1.0,
        }

    def try_actions(self, actions):
        self.search_macs_total += len(actions)
        return [self._pay(action) for action in actions]

    def step(self, action):
        reward, info = self._pay(action)
        self.search_macs_total += 1
        self.position += 1
        return self._next(), reward, self.position == self.layers, False, info
