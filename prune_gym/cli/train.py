"""``prune-gym train``: search with an agent, keep the best network, export it."""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prune_gym.cli import plan as plans
from prune_gym.cli.settings import add_command, add_environment_options, make_environment
from prune_gym.runs import folder as run_folder
from prune_gym.runs import warm_start

DESCRIPTION = """\
Train an agent in an environment, keep the best network of all episodes, fine-tune it
(--final-epochs), read the test split once and export ONNX, torch.export and safetensors.

The run's folder holds config.json, episodes.jsonl (one line an episode), tensorboard/,
policy/ and best/ (model.onnx, model.pt2, weights.safetensors, network.json, report.json,
sample.npz, network.png). Ctrl-C stops the search and keeps what was found: finish with
`prune-gym export RUN`, or go on with `prune-gym train --resume RUN`, also after a kill: at most
the episode under way is lost, and the result is that of a run that was never broken.

With --target every episode ends within the wanted costs, and the best network is the one of
the highest accuracy; without, it is the one of the highest score.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(
        commands, "train", "search for a smaller network and export it", DESCRIPTION
    )
    parser.add_argument("id", nargs="?", help="an environment, for example PruneResNet20-v0")
    parser.add_argument("--agent", help="see `prune-gym list agents` (default l2pf)")
    parser.add_argument("--out", type=Path, help="folder of the run, new or empty")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier run there")
    parser.add_argument(
        "--resume", type=Path, metavar="RUN", help="go on with a run that was stopped or killed"
    )
    parser.add_argument("--seed", type=int, help="of agent and environment (default 0)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a hyperparameter of the agent, for example --set candidates=8",
    )
    budget = parser.add_argument_group("budget (the search ends with the first that is spent)")
    budget.add_argument("--episodes", type=int, help="finished episodes (10 if nothing is given)")
    budget.add_argument(
        "--steps",
        type=int,
        help="steps, tried candidates included; the episode under way is finished",
    )
    budget.add_argument("--search-macs", type=float, help="MACs spent, the machine-independent one")
    budget.add_argument("--minutes", type=float, help="wall time")
    parser.add_argument(
        "--final-epochs",
        type=float,
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
    from prune_gym.cli.search import search

    config: dict[str, Any] | None = None
    if arguments.resume is not None:
        plan, config = plans.from_run(arguments)
        arguments.out = arguments.resume
        warm_start.take_over(arguments, config)
    else:
        plan = plans.from_arguments(arguments)
    arguments.id, arguments.seed, arguments.final_epochs = plan.id, plan.seed, plan.final_epochs
    env = make_environment(plan.id, plan.env_arguments)
    surrogate = warm_start.environment(env, arguments, plan.env_arguments)
    agent = agents.make(plan.agent, env, seed=plan.seed, **plan.agent_options)
    budget = Budget(**plan.budget)
    facts = plan.facts()
    if surrogate is not None:
        facts["warm_start"] = warm_start.facts(surrogate, arguments.warm_start_episodes)
    # All that can be wrong is found out before a folder is made or an earlier run goes.
    json.dumps(facts, allow_nan=False)
    env.reset(seed=plan.seed)
    with run_folder.claimed(arguments.out):
        if config is None:
            run_folder.prepare(arguments.out, arguments.overwrite)
            run_folder.write_config(arguments.out, env.unwrapped, **facts)
        else:
            run_folder.check_same(config, env.unwrapped)
        recorder = search(agent, env, budget, surrogate, facts, arguments)
        return 130 if recorder is None else _finish(env, recorder, facts, arguments)


def _finish(env: Any, recorder: Any, facts: dict[str, Any], arguments: argparse.Namespace) -> int:
    """What comes after the search."""
    from prune_gym.errors import PruneGymError

    if recorder.best is None:
        raise PruneGymError(
            "No episode was finished within the budget, so there is nothing to export. "
            "Give more of --episodes, --steps, --search-macs or --minutes."
        )
    facts["search"] = run_folder.search_facts(arguments.out)
    try:
        finish_run(arguments.out, env.unwrapped, recorder.best, facts, arguments)
    except KeyboardInterrupt:
        print(
            "\nStopped in the final fine-tune, the search is kept. Go on with: prune-gym train "
            f"--resume {arguments.out}",
            file=sys.stderr,
        )
        return 130
    env.close()
    return 0


def finish_run(
    folder: Path, env: Any, best: Any, facts: dict[str, Any], arguments: argparse.Namespace
) -> None:
    """Final fine-tune with a bar, export into ``best/``, print the summary."""
    from tqdm import tqdm

    from prune_gym.envs import render
    from prune_gym.runs.finish import final_batches, finish, summary

    started, total = time.monotonic(), final_batches(env.baseline, arguments.final_epochs)
    with tqdm(total=total, desc="final fine-tune", disable=arguments.quiet or not total) as bar:

        def progress(batch: int, loss: float) -> None:
            bar.update(1)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        target = folder / run_folder.BEST

        def draw(report: Mapping[str, Any]) -> None:
            test = report["accuracy"]["test"]
            title = f"test accuracy {test['final']:.3f} (unpruned {test['unpruned']:.3f})"
            render.picture(best, env.baseline, env.visited, target / "network.png", title)

        report = finish(
            env.baseline,
            best,
            target,
            arguments.final_epochs,
            arguments.seed,
            facts,
            env.target,
            progress,
            draw,
        )
    print(summary(report))
    search = facts.get("search", {}).get("wall_seconds")
    took = f"search {search:.0f} s, " if search else ""
    print(f"{took}final fine-tune and export {time.monotonic() - started:.0f} s")
    print(f"wrote {target}: " + ", ".join(sorted(path.name for path in target.iterdir())))
