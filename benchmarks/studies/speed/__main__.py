"""Speed of the environment, each value compared with its reference.

A reference is the same work with the fast paths off, in the same run and taking turns, since the
speed of a shared machine drifts. Parts: steps, candidates, resets, own, memory, images, refit,
derivation, search, profile, growth, vector, surrogate.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import prune_gym  # noqa: F401 - registers the ids
from benchmarks.studies.speed import (
    derivation,
    growth,
    images,
    refit,
    search,
    step,
    surrogate,
    vector,
)
from benchmarks.studies.speed.measurement import Measurement, markdown


def parts(
    name: str, arguments: dict[str, Any], repeats: int
) -> dict[str, Callable[[], list[Measurement]]]:
    """All measurements by name."""
    return {
        "steps": lambda: step.steps(name, arguments, repeats),
        "candidates": lambda: step.candidates(name, arguments, repeats),
        "resets": lambda: step.resets(name, arguments),
        "own": lambda: growth.own_work(name, arguments, repeats),
        "memory": lambda: step.memory(1000),
        "images": images.rows,
        "derivation": lambda: derivation.rows(repeats),
        "refit": lambda: refit.rows(),
        "search": lambda: search.searches(name, arguments, seed=0),
        "profile": lambda: [
            *growth.profile(name, arguments, 0.0, repeats),
            *growth.profile(name, arguments, 0.25, max(1, repeats // 3)),
        ],
        "growth": lambda: growth.growth(name, arguments, max(1, repeats // 2)),
        "vector": lambda: vector.rows(repeats),
        "surrogate": lambda: surrogate.rows(20_000),
    }


def main() -> None:
    """Measure, print, and write a JSON file with ``--json``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies.speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--id", default="PruneResNet20-v0", help="an environment")
    parser.add_argument("--dataset", help="data set, e.g. imagefolder:PATH (default: the id's own)")
    parser.add_argument("--threads", type=int, help="torch threads (default: all cores)")
    parser.add_argument("--repeats", type=int, default=5, help="number of turns of each case")
    parser.add_argument("--parts", help="only these, separated by commas")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parsed = parser.parse_args()
    arguments: dict[str, Any] = {"threads": parsed.threads}
    if parsed.dataset:
        arguments["dataset"] = parsed.dataset
    known = parts(parsed.id, arguments, parsed.repeats)
    wanted = parsed.parts.split(",") if parsed.parts else list(known)
    for name in wanted:
        if name not in known:
            parser.error(f"--parts {name!r} is not one of {', '.join(known)}")
    facts = {
        "id": parsed.id,
        "dataset": parsed.dataset,
        "threads": parsed.threads or os.cpu_count(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }
    print(", ".join(f"{key} {value}" for key, value in facts.items() if value))
    rows: list[Measurement] = []
    for name in wanted:
        new = known[name]()
        table = markdown(new).splitlines()
        print("\n".join(table if not rows else table[2:]), flush=True)
        rows += new
    if parsed.json:
        content = facts | {"rows": [asdict(row) | {"ratio": row.ratio} for row in rows]}
        parsed.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
