"""``prune-gym train``: search with an agent, keep the best network, export it."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from prune_gym.cli import run_folder, warm_start
from prune_gym.cli.settings import (
    add_command,
    add_environment_options,
    environment_settings,
    make_environment,
    parse_settings,
)

DESCRIPTION = """\
Train an agent in an environment, keep the best network of all episodes, fine-tune it
(--final-epochs), read the test split once and export ONNX, torch.export and safetensors.

The run's folder holds config.json, episodes.jsonl (one line an episode), tensorboard/,
policy/ and best/ (model.onnx, model.pt2, weights.safetensors, network.json, report.json,
sample.npz, network.png). Ctrl-C stops the search and keeps what was found:
finish with `prune-gym export RUN`.

With --target every episode ends within the wanted costs, and the best network is the one of
the highest accuracy; without, it is the one of the highest score.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "train", "search for a smaller network and export it", DESCRIPTION
    )
    parser.add_argument("id", help="an environment, for example PruneResNet20-v0")
    parser.add_argument("--agent", default="l2pf", help="see `prune-gym list agents`")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run, new or empty")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run there")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter of the agent, for example --set candidates=8",
    )
    budget = parser.add_argument_group("budget (the search ends with the first that is spent)")
    budget.add_argument("--episodes", type=int, help="finished episodes (10 if nothing is given)")
    budget.add_argument("--steps", type=int, help="steps, tried candidates included")
    budget.add_argument("--search-macs", type=float, help="MACs spent, the machine-independent one")
    budget.add_argument("--minutes", type=float, help="wall time")
    parser.add_argument(
        "--final-epochs",
        type=float,
        default=5.0,
        help="fine-tuning of the best network with distillation (default 5)",
    )
    warm_start.add_options(parser)
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_environment_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Train, finish, and print what came out."""
    import agents
    from agents.base import Budget
    from prune_gym.cli.recorder import Recorder
    from prune_gym.errors import PruneGymError

    limits = {
        "episodes": arguments.episodes,
        "steps": arguments.steps,
        "search_macs": None if arguments.search_macs is None else int(arguments.search_macs),
        "seconds": None if arguments.minutes is None else arguments.minutes * 60,
    }
    if all(value is None for value in limits.values()):
        limits["episodes"] = 10
    budget = Budget(**limits)
    check_final_epochs(arguments.final_epochs)
    settings = environment_settings(arguments)
    env = make_environment(arguments.id, settings)
    surrogate = warm_start.environment(env, arguments, settings)
    options = parse_settings(arguments.set, "hyperparameter", _hyperparameters(arguments.agent))
    agent = agents.make(arguments.agent, env, seed=arguments.seed, **options)
    facts = {
        "id": arguments.id,
        "env_arguments": settings,
        "agent": arguments.agent,
        "agent_options": options,
        "seed": arguments.seed,
        "budget": limits,
        "final_epochs": arguments.final_epochs,
    }
    if surrogate is not None:
        facts["warm_start"] = warm_start.facts(surrogate, arguments.warm_start_episodes)
    # All that can be wrong is found out before a folder is made or an earlier run goes.
    json.dumps([facts, options], allow_nan=False)
    env.reset(seed=arguments.seed)
    run_folder.prepare(arguments.out, arguments.overwrite)
    run_folder.write_config(arguments.out, env.unwrapped, **facts)
    if surrogate is not None:
        seconds = warm_start.learn(agent, surrogate, arguments.warm_start_episodes, arguments.quiet)
        facts["warm_start"]["wall_seconds"] = seconds
        # The warm start is not of the search's time.
        budget = Budget(**limits)
    recorder = Recorder(arguments.out, env.unwrapped, arguments.seed, budget, arguments.quiet)
    try:
        agent.learn(budget, recorder)
    except KeyboardInterrupt:
        print(_stopped(arguments.out, recorder.best is not None), file=sys.stderr)
        return 130
    finally:
        agent.save(arguments.out / run_folder.POLICY)
        recorder.close()
    if recorder.best is None:
        raise PruneGymError(
            "No episode was finished within the budget, so there is nothing to export. "
            "Give more of --episodes, --steps, --search-macs or --minutes."
        )
    search = run_folder.search_facts(arguments.out)
    finish_run(arguments.out, env.unwrapped, recorder.best, facts | {"search": search}, arguments)
    env.close()
    return 0


def check_final_epochs(epochs: float) -> None:
    """Refuse an option that could only fail behind the search.

    Raises:
        PruneGymError: Not finite, negative or absurd.
    """
    from prune_gym.errors import PruneGymError

    if not 0 <= epochs < 10_000:
        raise PruneGymError(f"--final-epochs {epochs} must be 0 to 10,000")


def finish_run(
    folder: Path, env: Any, best: Any, facts: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Final fine-tune with a bar, export into ``best/``, print the summary."""
    from tqdm import tqdm

    from prune_gym.envs import render
    from prune_gym.finish import final_batches, finish, summary

    started, total = time.monotonic(), final_batches(env.task, arguments.final_epochs)
    with tqdm(total=total, desc="final fine-tune", disable=arguments.quiet or not total) as bar:

        def progress(batch: int, loss: float) -> None:
            bar.update(1)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        target = folder / run_folder.BEST
        report = finish(
            env.task,
            best,
            target,
            arguments.final_epochs,
            arguments.seed,
            facts,
            env.target,
            progress,
        )
    test = report["accuracy"]["test"]
    title = f"test accuracy {test['final']:.3f} (unpruned {test['unpruned']:.3f})"
    render.picture(best, env.task, env.visited, target / "network.png", title)
    print(summary(report))
    search = facts.get("search", {}).get("wall_seconds")
    took = f"search {search:.0f} s, " if search else ""
    print(f"{took}final fine-tune and export {time.monotonic() - started:.0f} s")
    print(f"wrote {target}: " + ", ".join(sorted(path.name for path in target.iterdir())))


def _hyperparameters(agent: str) -> list[str]:
    """The names that ``--set`` takes for an agent."""
    import inspect
    from dataclasses import fields, is_dataclass

    import agents

    kind = agents.lookup(agent)
    names = [name for name in inspect.signature(kind.__init__).parameters]
    options = getattr(kind, "Options", None)
    if is_dataclass(options):
        names += [field.name for field in fields(options)]
    return [name for name in names if name not in ("self", "env", "seed", "options")]


def _stopped(folder: Path, found: bool) -> str:
    if found:
        return (
            f"\nStopped. The best network so far is in {folder / run_folder.BEST}; finish with: "
            f"prune-gym export {folder}"
        )
    return f"\nStopped before the first episode ended; {folder} holds the configuration only."
