"""``prune-gym bench``: agents compared on a fixed task."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prune_gym.cli.settings import add_command

DESCRIPTION = """\
Run agents on a benchmark task, several seeds each, in processes side by side (one thread each), and
print the leaderboard. A task fixes environment, target, budget and final fine-tune, so results of
one version can be compared; `prune-gym bench` without a task lists them.

Every cell is a run folder OUT/AGENT-SEED with its log beside it. Called again, it goes on: cells
that are done are not run again, cells that were broken off go on from their last checkpoint, and
a cell that fails does not stop the others. OUT/records.jsonl holds what `prune-gym validate`
replays; `prune-gym report OUT -o report/` makes a page of it.

Behind each run the shape of its network is trained from scratch for as many epochs as the final
fine-tune had, the control that says what the search and the trained weights were worth.
"""


def add_parser(commands: Any) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "bench", "compare agents on a benchmark task", DESCRIPTION)
    parser.add_argument("task", nargs="?", help="a task; without one they are listed")
    parser.add_argument(
        "--agents",
        default="random,uniform,l1,l2pf",
        help="names with commas, package.module:Class too, each with options of its own as in "
        "l2pf@fixed_duration=0.25 (default: %(default)s)",
    )
    parser.add_argument("--seeds", type=int, default=1, help="of each agent, from 0 (default 1)")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side (default 1)")
    parser.add_argument("--out", type=Path, help="folder, new or of the same task")
    parser.add_argument("--dataset", help="the images, where the task asks for them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--against", type=Path, action="append", default=[], metavar="RECORDS",
        help="records of the same task to stand in the leaderboard, not run again",
    )  # fmt: skip
    parser.add_argument(
        "--no-scratch", action="store_true", help="leave the from-scratch controls out"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run what is left, write the records, print the leaderboard."""
    from benchmarks import results, tasks
    from prune_gym.envs.baseline import checked_device
    from prune_gym.errors import PruneGymError
    from prune_gym.runs import folder as run_folder

    if arguments.task is None:
        for task in tasks.TASKS.values():
            print(task.told)
        return 0
    task = tasks.find(arguments.task)
    if arguments.out is None:
        raise PruneGymError("--out is needed: a folder for the runs")
    for name in ("seeds", "workers"):
        if getattr(arguments, name) < 1:
            raise PruneGymError(f"--{name} {getattr(arguments, name)} must be at least 1")
    names = _agents(arguments.agents)
    others = [
        result
        for result in (results.load(arguments.against) if arguments.against else [])
        if _same_task(result, task)
    ]
    # What the task asks for is found out before a folder is made.
    task.command(names[0], 0, arguments.out, arguments.dataset)
    checked_device(arguments.device)
    with run_folder.claimed(arguments.out):
        return _run(task, names, others, arguments)


def _run(task: Any, names: Sequence[str], others: list[Any], arguments: argparse.Namespace) -> int:
    from tqdm import tqdm

    from benchmarks import leaderboard, records, runner

    runner.prepare(arguments.out, task, arguments.dataset)
    # Zero epochs from scratch would be random weights.
    scratch = task.final_epochs > 0 and not arguments.no_scratch
    path, found = arguments.out / "records.jsonl", runner.finished(arguments.out)
    todo = runner.cells(arguments.out, names, arguments.seeds, scratch)
    done = sum(cell.done for cell in todo)
    with tqdm(total=len(todo), initial=done, unit="cell", disable=arguments.quiet) as bar:

        def progress(cell: Any, wrong: str | None) -> None:
            bar.update(1)
            state = "done" if wrong is None else "FAILED"
            bar.set_postfix_str(f"{cell.folder.name} {state}")
            if wrong is not None:
                bar.write(f"{cell.folder.name} {wrong}", file=sys.stderr)
            else:
                # Now, as the next cells may take hours and be broken off.
                found[:] = runner.finished(arguments.out)
                records.write(path, records.of_results(found, task))

        try:
            failed = runner.run(
                task, todo, arguments.workers, arguments.dataset, arguments.device, progress
            )
        except KeyboardInterrupt:
            bar.close()
            print(f"\nStopped. The same command goes on in {arguments.out}.", file=sys.stderr)
            return 130
    if found:
        records.write(path, records.of_results(found, task))
        print(leaderboard.tables([*found, *others]))
        print(f"wrote {path}; for a page of figures: prune-gym report {arguments.out} -o report/")
    if failed:
        print(
            f"{len(failed)} of {len(todo)} cells failed: {', '.join(sorted(failed))}. Their logs "
            f"are in {arguments.out}; the same command tries them again.",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _agents(text: str) -> list[str]:
    """The names after ``--agents``.

    Raises:
        PruneGymError: None, one that is not known, or one twice: two cells would share a folder.
    """
    import agents
    from benchmarks import runner, tasks
    from prune_gym.cli.plan import hyperparameters
    from prune_gym.cli.settings import parse_settings
    from prune_gym.errors import PruneGymError

    names = [name.strip() for name in text.split(",") if name.strip()]
    folders = [runner.folder_name(name) for name in names]
    twice = sorted({name for name in names if folders.count(runner.folder_name(name)) > 1})
    if not names or twice:
        wrong = f"{', '.join(twice)} twice" if twice else "none"
        raise PruneGymError(f"--agents {text!r} names {wrong}: name each agent once")
    for name in names:
        agent, options = tasks.variant(name)
        agents.lookup(agent)
        # An option that is not known would fail in every cell.
        given = [f"{option}={value}" for option, value in options.items()]
        parse_settings(given, f"{agent}'s hyperparameter", hyperparameters(agent))
    return names


def _same_task(result: Any, task: Any) -> bool:
    """Whether a record can stand beside this task's runs.

    Raises:
        PruneGymError: It is of another task or version.
    """
    from prune_gym.errors import PruneGymError

    if result.task != (task.name, task.version):
        raise PruneGymError(
            f"{result.source} is of {' version '.join(map(str, result.task or ('no task',)))}, not "
            f"of {task.name} version {task.version}: they must not stand in one table."
        )
    return bool(result.finished)
