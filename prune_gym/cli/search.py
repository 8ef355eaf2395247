"""The search of a run: from its start or its last checkpoint, to the end of its budget."""

import argparse
import sys
from pathlib import Path
from typing import Any

from agents.base import Agent, Budget
from prune_gym.runs import folder as run_folder
from prune_gym.runs import warm_start
from prune_gym.runs.checkpoint import CheckpointingRecorder
from prune_gym.runs.recorder import Recorder


def search(
    agent: Agent,
    env: Any,
    budget: Budget,
    surrogate: Any,
    facts: dict[str, Any],
    arguments: argparse.Namespace,
) -> Recorder | None:
    """Learn, from the last checkpoint on where there is one.

    Args:
        agent: The agent.
        env: Its environment, reset.
        budget: What may be spent, earlier parts of the run included.
        surrogate: The environment of a warm start, or None.
        facts: Of the run; what a warm start took is added.
        arguments: ``out``, ``resume``, ``quiet``, ``seed`` and the warm start's.

    Returns:
        The recorder with the best network; None where Ctrl-C ended the search.
    """
    folder: Path = arguments.out
    recorder = CheckpointingRecorder(folder, env.unwrapped, arguments.seed, budget, arguments.quiet)
    try:
        if not (arguments.resume and recorder.restore(agent)) and surrogate is not None:
            episodes = arguments.warm_start_episodes
            seconds = warm_start.learn(agent, surrogate, episodes, arguments.quiet)
            facts["warm_start"]["wall_seconds"] = seconds
            recorder.restart_clock()
        budget.restart_clock(recorder.wall_seconds())
        agent.learn(budget, recorder)
    except KeyboardInterrupt:
        print(_stopped(folder, recorder.best is not None), file=sys.stderr)
        return None
    finally:
        agent.save(folder / run_folder.POLICY)
        if agent.episodes:
            agent.plot(folder / run_folder.POLICY)
        recorder.close()
    return recorder


def _stopped(folder: Path, found: bool) -> str:
    if found:
        return (
            f"\nStopped. The best network so far is in {folder / run_folder.BEST}; finish with: "
            f"prune-gym export {folder}"
        )
    return f"\nStopped before the first episode ended; {folder} holds the configuration only."
