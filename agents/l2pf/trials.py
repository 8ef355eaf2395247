"""Candidates: drawn, and tried from a state that is left as it was."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from agents.base import Action, Observation
from agents.l2pf.policy import Inputs

TASKS = ("prune", "duration")


@dataclass(frozen=True)
class Draw:
    """What was drawn for one layer.

    Args:
        inputs: What the policy saw.
        bits: Boolean, shape (n_max,).
        log_duration: A scalar.
    """

    inputs: Inputs
    bits: Tensor
    log_duration: Tensor

    def action(self) -> Action:
        """As the environment takes it."""
        return action_of(self.bits, self.log_duration)


@dataclass
class Trial:
    """A candidate and what it earned.

    Args:
        draws: One a layer.
        rewards: Of each task, summed over the layers.
        total: The environment's reward, summed over the layers.
        complete: False where the environment's budget ended it before its last layer.
    """

    draws: list[Draw]
    rewards: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TASKS, 0.0))
    total: float = 0.0
    complete: bool = True

    def add(self, reward: float, info: dict[str, Any]) -> None:
        """Count one layer's reward."""
        self.total += reward
        for task in TASKS:
            self.rewards[task] += info["rewards"][task]


OnTrial = Callable[[float, dict[str, Any]], None]


def try_layer(env: Any, draws: Sequence[Draw], on_trial: OnTrial) -> list[Trial]:
    """Candidates of one layer.

    Args:
        env: The unwrapped environment.
        draws: One a candidate.
        on_trial: Sees each.
    """
    results = env.try_actions([draw.action() for draw in draws])
    trials = [Trial([draw]) for draw in draws]
    for trial, (reward, info) in zip(trials, results, strict=True):
        trial.add(reward, info)
        on_trial(reward, info)
    return trials


def try_stage(
    env: Any,
    observation: Observation,
    draw: Callable[[Observation], Draw],
    goes_on: Callable[[int, Observation], bool],
    on_trial: OnTrial,
) -> Trial:
    """A candidate of several layers, each drawn where the ones before it led.

    Args:
        env: The unwrapped environment.
        observation: Of the present state.
        draw: Draws for a layer.
        goes_on: Whether the next layer, behind so many, still belongs to the stage.
        on_trial: Sees each step.
    """
    before, trial = env.snapshot(), Trial([])
    try:
        terminated = False
        while trial.complete and not terminated:
            trial.draws.append(draw(observation))
            action = trial.draws[-1].action()
            observation, reward, terminated, truncated, info = env.step(action)
            trial.add(float(reward), info)
            on_trial(float(reward), info)
            if terminated or not goes_on(len(trial.draws), observation):
                break
            trial.complete = not truncated
    finally:
        env.restore(before)
    return trial


def action_of(bits: Tensor, log_duration: Tensor) -> Action:
    """Bits and log-duration as the environment takes them; a duration above 1 is 1."""
    duration = min(1.0, float(log_duration.exp()))
    return {
        "mask": bits.numpy().astype(np.int8),
        "duration": np.array([duration], np.float32),
    }
