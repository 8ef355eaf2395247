"""Helpers that the tests of several agents share."""

import numpy as np

import agents
from agents.base import Budget, Callback
from agents.toy import ToyPruning


class FixedToy(ToyPruning):
    """The same layers in every episode, as a trained network's are: 6, 4 and 2 filters stay."""

    def reset(self, *, seed=None, options=None):
        return super().reset(seed=6, options=options)


class ContrastToy(FixedToy):
    """Its layers should keep all filters, none, and all: no untrained policy is near that."""

    def _next(self):
        super()._next()
        self.scale = np.abs(self.scale) * (1 if self.position % 2 == 0 else -1)
        return self._observe()


class Collect(Callback):
    """Masks and infos of each episode."""

    def __init__(self):
        self.episodes, self.infos = [], []

    def on_episode(self, number, env, infos):
        self.episodes.append([info["mask"] for info in infos])
        self.infos.append(infos)


def mean_reward(agent, env, episodes=20, deterministic=True):
    """What the agent's policy earns in a step."""
    rewards = []
    for episode in range(episodes):
        observation, info = env.reset(seed=1000 + episode)
        ended = False
        while not ended:
            action = agent.act(observation, info, deterministic=deterministic)
            observation, reward, ended, _, info = env.step(action)
            rewards.append(reward)
    return np.mean(rewards)


def trained(name, env, episodes, seed=0, **options):
    agent = agents.make(name, env, seed=seed, **options)
    agent.learn(Budget(episodes=episodes))
    return agent


def saved(agent, folder):
    """All that an agent writes, as bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    agent.save(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}
