"""Run what is left of the matrix, and print its tables."""

import argparse
from pathlib import Path

from tqdm import tqdm

from benchmarks import leaderboard, records, runner, tasks
from benchmarks.pieces import UNFINISHED, deadline
from benchmarks.results import Result
from benchmarks.studies.matrix import durations, hardware
from benchmarks.studies.matrix.plan import SCALES, TABLES, Part
from prune_gym.cli.signals import stopped_by_signals

DESCRIPTION = """\
All tables of docs/results.md on CIFAR-10, each cell a run of its own. Called again it goes on where
it was: finished cells are left alone, broken ones go on from their last checkpoint. Where a machine
is lent for ten minutes at a time, call it with --minutes 9 until it says that all is done (exit
status 75 before that, 1 where cells failed).

The full setting, on a GPU (baselines first, see docs/results.md):
  python -m benchmarks.studies.matrix --scale full --dataset cifar10 --device cuda --workers 4 \\
    --minutes 9 --out runs/matrix
What two cores carry in some hours:
  python -m benchmarks.studies.matrix --scale short --dataset imagefolder:PATH \\
    --workers 2 --out runs/matrix
"""
BARS = tuple(percent / 100 for percent in range(70, 94, 2))


def main() -> int:
    """Run what is left; write records and print tables of what is done."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.matrix",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--scale", default="short", choices=sorted(SCALES))
    parser.add_argument("--tables", default=",".join(TABLES), help="with commas (default: all)")
    parser.add_argument("--dataset", required=True, help="cifar10, or imagefolder:PATH")
    parser.add_argument("--out", type=Path, required=True, help="a folder of all tasks' folders")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=1, help="processes side by side")
    parser.add_argument("--minutes", type=float, help="stop then, to be called again")
    given = parser.parse_args()
    unknown = set(given.tables.split(",")) - set(TABLES)
    if unknown:
        parser.error(f"--tables {', '.join(sorted(unknown))}: known are {', '.join(TABLES)}")
    until = deadline(given.minutes)
    parts = [part for part in SCALES[given.scale] if part.table in given.tables.split(",")]
    failed: dict[str, str] = {}
    for part in parts:
        failed |= _run(part, given, until)
    _tell(parts, given.out)
    for name, wrong in failed.items():
        print(f"{name}: {wrong}")
    if runner.OUT_OF_TIME in failed.values():
        print(f"{given.minutes:g} minutes are over; call it again to go on.")
        return UNFINISHED
    return 1 if failed else 0


def _run(part: Part, given: argparse.Namespace, until: float | None) -> dict[str, str]:
    task, out = tasks.find(part.task), given.out / part.task
    runner.prepare(out, task, given.dataset)
    todo = runner.cells(out, part.agents, part.seeds, scratch=task.final_epochs > 0)
    done = sum(cell.done for cell in todo)
    with tqdm(total=len(todo), initial=done, unit="cell", desc=part.task) as bar:

        def progress(cell: runner.Cell, wrong: str | None) -> None:
            bar.update(wrong is None)
            bar.set_postfix_str(cell.folder.name)

        failed = runner.run(task, todo, given.workers, given.dataset, given.device, progress, until)
    return {f"{part.task}/{name}": wrong for name, wrong in failed.items()}


def _tell(parts: list[Part], out: Path) -> None:
    """Records and tables of all finished cells."""
    by_table: dict[str, list[Result]] = {}
    for name, table in {part.task: part.table for part in parts}.items():
        found = runner.finished(out / name)
        records.write(out / f"{name}.jsonl", records.of_results(found, tasks.find(name)))
        by_table.setdefault(table, []).extend(found)
        if found and table in ("agents", "resnet56"):
            print(f"\n{name}\n\n{leaderboard.tables(found)}")
    if by_table.get("durations"):
        print(f"\nlearned durations\n\n{durations.markdown(by_table['durations'], BARS)}")
    if by_table.get("hardware"):
        print(f"\nMACs against latency\n\n{hardware.markdown(by_table['hardware'])}")


if __name__ == "__main__":
    with stopped_by_signals():
        raise SystemExit(main())
