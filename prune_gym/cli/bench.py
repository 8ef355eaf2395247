"""``prune-gym bench``: agents compared on a fixed task."""

import argparse
import sys
from pathlib import Path

from prune_gym.cli.settings import Commands, add_command

DESCRIPTION = """\
Run agents on a benchmark task, several seeds each, in parallel processes (one thread each), and
print the leaderboard. A task fixes environment, target and one budget for search and training, so
results of one version can be compared; `prune-gym bench` without a task lists them.

Every cell is a run folder OUT/AGENT-SEED with its log beside it. The same command continues an
interrupted benchmark: finished cells are not run again, interrupted ones continue from their last
checkpoint, and a cell that fails does not stop the others. OUT/records.jsonl holds what
`prune-gym validate` replays; `prune-gym report OUT -o report/` makes a page of it.

The shape of one run (l1's first seed, or the first agent's) is trained from scratch with the whole
budget. This control shows how much the trained weights contribute.
"""


def add_parser(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the parser."""
    parser = add_command(commands, "bench", "compare agents on a benchmark task", DESCRIPTION)
    parser.add_argument("task", nargs="?", help="a task; without one they are listed")
    parser.add_argument(
        "--agents",
        default="random,uniform,l1,l2pf",
        help="comma-separated names or package.module:Class, each with its own options, for "
        "example l2pf@fixed_duration=0.25 (default: %(default)s)",
    )
    parser.add_argument(
        "--seeds", type=int, default=1, help="number of seeds of each agent, from 0 (default 1)"
    )
    parser.add_argument("--workers", type=int, default=1, help="parallel processes (default 1)")
    parser.add_argument("--out", type=Path, help="folder, new or of the same task")
    parser.add_argument("--dataset", help="the images, if the task needs them")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: %(default)s)")
    parser.add_argument(
        "--against", type=Path, action="append", default=[], metavar="RECORDS",
        help="records of the same task to show in the leaderboard, not run again",
    )  # fmt: skip
    parser.add_argument("--no-scratch", action="store_true", help="no from-scratch control")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Run what is left, write the records, print the leaderboard."""
    from benchmarks import leaderboard, results, runner, tasks
    from prune_gym.envs.baseline import checked_device
    from prune_gym.errors import PruneGymError
    from prune_gym.runs import folder as run_folder

    if arguments.task is None:
        for task in tasks.TASKS.values():
            print(task.summary)
        return 0
    task = tasks.find(arguments.task)
    if arguments.out is None:
        raise PruneGymError("--out is needed: a folder for the runs")
    for name in ("seeds", "workers"):
        if getattr(arguments, name) < 1:
            raise PruneGymError(f"--{name} {getattr(arguments, name)} must be at least 1")
    bench = runner.Benchmark(
        task,
        arguments.out,
        tasks.agent_names(arguments.agents),
        arguments.seeds,
        arguments.dataset,
        arguments.device,
        scratch=not arguments.no_scratch,
    )
    others = bench.comparable(results.load(arguments.against))
    bench.check()
    checked_device(arguments.device)
    bench.check_folder()
    with run_folder.claimed(arguments.out):
        bench.prepare()
        try:
            failed = bench.run(arguments.workers, arguments.quiet)
        except KeyboardInterrupt:
            print(f"\nStopped. The same command continues in {bench.out}.", file=sys.stderr)
            return 130
        found = bench.write_records()
    if found:
        print(leaderboard.text([*found, *others]))
        page = f"prune-gym report {bench.out} -o report/"
        print(f"wrote {bench.path}; for a page of figures: {page}")
    if failed:
        print(
            f"{len(failed)} of {len(bench.cells())} cells failed: {', '.join(sorted(failed))}. "
            f"Their logs are in {bench.out}; the same command tries them again.",
            file=sys.stderr,
        )
    return 1 if failed else 0
