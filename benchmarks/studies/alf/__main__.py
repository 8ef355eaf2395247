"""Train ALF and its controls, and print the table: ``python -m benchmarks.studies.alf --help``."""

import argparse
import time
from pathlib import Path

from benchmarks.pieces import UNFINISHED, carry_out, deadline, last_lines
from benchmarks.studies.alf.stages import LABELS, Plan, stages
from benchmarks.studies.alf.table import markdown, record
from prune_gym.cli.signals import stopped_by_signals
from prune_gym.files import write_json

DESCRIPTION = """\
ALF on a network, beside the abstract's three figures and its controls: L1 and L2PF at equal MACs
and ALF's shape trained from scratch, all with equal final training. Every part is a run of its
own; a finished one is not run again and a broken one is taken up, so on a machine that is lent for
ten minutes at a time, call it again with --minutes 9 until it says that all is done.

The full setting, on a GPU:  python -m benchmarks.studies.alf --network resnet20 --dataset cifar10
  --device cuda --epochs 60 --final-epochs 60 --baseline-epochs 120 --minutes 9 --out runs/alf
"""


def main() -> int:
    """Run what is left; print and write the table where all is done."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.alf",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", default="resnet20", choices=sorted(LABELS))
    parser.add_argument("--dataset", default="shapes", help="see `prune-gym list datasets`")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--baseline-epochs", type=float, default=12.0)
    parser.add_argument("--epochs", type=float, default=1.0, help="of two-player training")
    parser.add_argument("--final-epochs", type=float, default=1.0)
    parser.add_argument("--from-scratch", action="store_true", help="as the paper: long")
    parser.add_argument("--eval-images", type=int, default=1000)
    parser.add_argument("--minutes", type=float, help="stop then, to be called again")
    given = vars(parser.parse_args())
    minutes = given.pop("minutes")
    until = deadline(minutes)
    plan = Plan(**given)
    for stage in stages(plan):
        if stage.done():
            continue
        print(f"{plan.network}: {stage.name} ...", flush=True)
        started, log = time.monotonic(), plan.out / f"{plan.network}-{stage.name}.log"
        code = carry_out(stage.command(), log, until)
        if code is None:
            print(f"{minutes:g} minutes are over; call it again to go on.")
            return UNFINISHED
        if code:
            raise RuntimeError(f"{stage.name} failed ({code}), see {log}: {last_lines(log, 5)}")
        print(f"{plan.network}: {stage.name} took {time.monotonic() - started:.0f} s", flush=True)
    facts = record(plan)
    path = plan.out / f"{plan.network}-alf.json"
    write_json(path, facts)
    print(markdown(facts))
    print(f"all is done; wrote {path}")
    return 0


if __name__ == "__main__":
    with stopped_by_signals():
        raise SystemExit(main())
