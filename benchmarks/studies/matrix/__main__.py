"""Run what is left of the matrix, and print its tables."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import leaderboard, tasks
from benchmarks.results import Result
from benchmarks.runner import Benchmark
from benchmarks.stages import OUT_OF_TIME, UNFINISHED, deadline
from benchmarks.studies.matrix import durations, hardware
from benchmarks.studies.matrix.plan import SCALES, TABLES
from prune_gym.signals import stopped_by_signals

DESCRIPTION = """\
All tables of docs/results.md on CIFAR-10, each cell a run of its own. The same command continues
after an interruption: finished cells are left alone, interrupted ones continue from their last
checkpoint. On a machine that is lent for ten minutes at a time, call it with --minutes 9 until all
is done (exit status 75 before that, 1 if cells failed).

The full setting, on a GPU (baselines first, see docs/results.md):
  python -m benchmarks.studies.matrix --scale full --dataset cifar10 --device cuda --workers 4 \\
    --minutes 9 --out runs/matrix
On two cores, in some hours:
  python -m benchmarks.studies.matrix --scale short --dataset imagefolder:PATH \\
    --workers 2 --out runs/matrix
"""
BARS = tuple(percent / 100 for percent in range(70, 94, 2))


def main() -> int:
    """Run what is left, write records, print the tables of finished cells."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.matrix",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scale", default="short", choices=sorted(SCALES))
    parser.add_argument("--tables", default=",".join(TABLES), help="with commas (default: all)")
    parser.add_argument("--dataset", required=True, help="cifar10, or imagefolder:PATH")
    parser.add_argument("--out", type=Path, required=True, help="folder for one folder a task")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="parallel processes")
    parser.add_argument("--minutes", type=float, help="time limit; call again to continue")
    given = parser.parse_args()
    unknown = set(given.tables.split(",")) - set(TABLES)
    if unknown:
        parser.error(f"--tables {', '.join(sorted(unknown))}: known are {', '.join(TABLES)}")
    until = deadline(given.minutes)
    chosen: list[tuple[str, Benchmark]] = []
    for each in SCALES[given.scale]:
        if each.table in given.tables.split(","):
            task, data = tasks.find(each.task), (given.dataset, given.device)
            bench = Benchmark(task, given.out / task.name, each.agents, each.seeds, *data)
            chosen.append((each.table, bench))
    failed: dict[str, str] = {}
    for _, bench in chosen:
        bench.prepare()
        wrong = bench.run(given.workers, until=until)
        failed |= {f"{bench.task.name}/{name}": reason for name, reason in wrong.items()}
    _print_tables(chosen)
    for name, reason in failed.items():
        print(f"{name}: {reason}")
    if OUT_OF_TIME in failed.values():
        print(f"{given.minutes:g} minutes are over; call it again to continue.")
        return UNFINISHED
    return 1 if failed else 0


def _print_tables(chosen: Sequence[tuple[str, Benchmark]]) -> None:
    """Print the tables of all finished cells, and write their records."""
    by_table: dict[str, list[Result]] = {}
    for table, bench in chosen:
        found = bench.write_records()
        by_table.setdefault(table, []).extend(found)
        if found and table in ("agents", "resnet56"):
            print(f"\n{bench.task.name}\n\n{leaderboard.text(found)}")
    if by_table.get("durations"):
        print(f"\nlearned durations\n\n{durations.markdown(by_table['durations'], BARS)}")
    if by_table.get("hardware"):
        print(f"\nMACs against latency\n\n{hardware.markdown(by_table['hardware'])}")


if __name__ == "__main__":
    with stopped_by_signals():
        raise SystemExit(main())
