"""Train ALF and its controls, and print the table: ``python -m benchmarks.studies.alf --help``."""

import argparse
import time
from pathlib import Path

from benchmarks.stages import OUT_OF_TIME, UNFINISHED, deadline, run_stage
from benchmarks.studies.alf.stages import ENVIRONMENTS, Setting, stages
from benchmarks.studies.alf.table import markdown, record
from prune_gym.files import write_json
from prune_gym.signals import stopped_by_signals

DESCRIPTION = """\
ALF on a network, compared with the abstract's three numbers and with controls: L1 and L2PF at equal
MACs, and ALF's shape trained from scratch, all with equal final training. Every stage is a run of
its own: a finished one is not run again, and an interrupted one continues. On a machine that is
lent for ten minutes at a time, call this with --minutes 9 until it says that all is done.

The full setting, on a GPU:  python -m benchmarks.studies.alf --network resnet20 --dataset cifar10
  --device cuda --epochs 60 --final-epochs 60 --baseline-epochs 120 --minutes 9 --out runs/alf
"""


def main() -> int:
    """Run what is left; print and write the table when all is done."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.alf",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", default="resnet20", choices=sorted(ENVIRONMENTS))
    parser.add_argument("--dataset", default="shapes", help="see `prune-gym list datasets`")
    parser.add_argument("--out", type=Path, required=True, help="folder of all runs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--baseline-epochs", type=float, default=12.0, help="if there is no baseline yet"
    )
    parser.add_argument("--epochs", type=float, default=1.0, help="epochs of two-player training")
    parser.add_argument("--final-epochs", type=float, default=1.0)
    parser.add_argument(
        "--from-scratch",
        action="store_true",
        help="start ALF from fresh weights, as the paper does; takes long",
    )
    parser.add_argument("--eval-images", type=int, default=1000)
    parser.add_argument("--minutes", type=float, help="time limit; call again to continue")
    given = vars(parser.parse_args())
    minutes = given.pop("minutes")
    until = deadline(minutes)
    setting = Setting(**given)
    for stage in stages(setting):
        if stage.done():
            continue
        print(f"{setting.network}: {stage.name} ...", flush=True)
        started = time.monotonic()
        wrong = run_stage(stage, until)
        if wrong == OUT_OF_TIME:
            print(f"{minutes:g} minutes are over; call it again to continue.")
            return UNFINISHED
        if wrong:
            raise RuntimeError(f"{stage.name} {wrong} (log: {stage.log})")
        took = time.monotonic() - started
        print(f"{setting.network}: {stage.name} took {took:.0f} s", flush=True)
    facts = record(setting)
    path = setting.out / f"{setting.network}-alf.json"
    write_json(path, facts)
    print(markdown(facts))
    print(f"all is done; wrote {path}")
    return 0


if __name__ == "__main__":
    with stopped_by_signals():
        raise SystemExit(main())
