"""Measures a run's best network, or its policy, again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prune_gym.envs import render
from prune_gym.registration import real_environment
from prune_gym.runs import agents
from prune_gym.runs.checkpoint import load_best
from prune_gym.runs.folder import load_policy
from prune_gym.runs.records import TargetReport
from prune_gym.runs.run import Run
from prune_gym.training import split_accuracy


@dataclass(frozen=True)
class Evaluation:
    """What was measured of a network.

    Args:
        accuracy: Accuracy on the whole split, 0 to 1.
        target: How the network compares with the target, on the validation subset.
        table: Table of the kept filters and the costs.
    """

    accuracy: float
    target: TargetReport
    table: str


def evaluate(
    run: Run,
    split: str = "validation",
    policy: bool = False,
    changes: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Measure the best network of a run.

    Args:
        run: Run, from :meth:`Run.open`.
        split: ``"validation"`` or ``"test"``.
        policy: Whether to let the learned policy play an episode instead, taking the most likely
            action in each step, and measure its network.
        changes: Arguments of the environment that replace the run's own.

    Raises:
        PruneGymError: If no episode of the run was finished, or data or weights are missing.
    """
    env = run.environment(changes)
    inner = real_environment(env)
    if policy:
        agent = agents.make(run.config, env)
        load_policy(run.folder, agent)
        observation, info = env.reset(seed=run.config.seed)
        ended = False
        while not ended:
            action = agent.act(observation, info, deterministic=True)
            observation, _, terminated, truncated, info = env.step(action)
            ended = terminated or truncated
        state = inner.snapshot()
    else:
        state = load_best(run.folder, inner)
    images = getattr(inner.baseline.dataset, split)
    evaluation = Evaluation(
        accuracy=split_accuracy(
            state.module, images, inner.baseline.device, inner.baseline.network.normalize
        ),
        target=TargetReport(inner.target.wanted, inner.target.reached(state.costs, state.accuracy)),
        table=render.table(state, inner.baseline, inner.visited),
    )
    env.close()
    return evaluation
