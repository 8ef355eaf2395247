"""The room of tasks: ``python -m benchmarks.studies.room NAME... --out FOLDER``.

A task has room where some allocation of filters is better than one ratio for all layers at equal
total compute. Nothing but trying tells. The script looks for the best allocation offline, without
counting what that takes:

1. starts: one ratio, equal sensitivity, the knapsack's counts, and their means, each trained with
   the whole budget;
2. if one of them is better on validation: mutants and means of the best, trained with a part of
   the budget, the best three of them with the whole budget; validation selects one;
3. that one and one ratio are trained with the whole budget on three fresh seeds, and the test
   split reports.

Every training is a line of ``FOLDER/NAME.jsonl``; a second call goes on where the first stopped.
The last line of a finished candidate is its result. Those of admitted tasks are frozen in
``benchmarks/references.json``.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from agents.common.allocation import Counts, Losses
from agents.knapsack import Knapsack
from agents.sensitivity import equal
from benchmarks.tasks import Task, find, with_room
from prune_gym.envs import PruningEnv
from prune_gym.envs.state import State
from prune_gym.pruning import criteria
from prune_gym.runs.compute import FinalTuning
from prune_gym.runs.finish import BUDGET_TUNING, epoch_of, epochs_of, fine_tune

SELECTION = 100
"""Seed of the trainings that select."""
FRESH = (0, 1, 2)
"""Seeds of the trainings that report: those of the agents' first runs."""
PART = 0.3
"""Share of the budget that trains a mutant."""
GENERATIONS = 2
CHILDREN = 8
FINALISTS = 3
SPREAD = 0.25
"""Standard deviation of the logarithm of a mutant's ratios."""


class Search:
    """The search for the best allocation of one task.

    Args:
        task: The task.
        path: File of the trainings.
    """

    def __init__(self, task: Task, path: Path) -> None:
        self.task, self.path = task, path
        env = gym.make(task.env_id, threads=1, **task.environment).unwrapped
        assert isinstance(env, PruningEnv)
        self.env = env
        lines = path.read_text().splitlines() if path.is_file() else []
        self.done: list[dict[str, Any]] = [json.loads(line) for line in lines]
        env.reset(seed=0)
        self.losses = Losses(env, env.sensitivities())

    def _write(self, line: dict[str, Any]) -> None:
        self.done.append(line)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(self.task.name, json.dumps(line), flush=True)

    def one_ratio(self) -> Counts:
        """The counts of the agent ``l1``."""
        ratio = self.env.ratio_for_target()
        assert ratio is not None
        return self._counts(
            self._played(lambda seen, _: criteria.action("l1", seen, self.env, ratio, 0.0))
        )

    def _counts(self, state: State) -> Counts:
        left = state.counts()
        return tuple(left[space.name] for space in self.env.visited)

    def _played(self, act: Callable[[Any, int], Any]) -> State:
        seen, _ = self.env.reset(seed=0)
        for place in range(len(self.env.visited)):
            seen, *_ = self.env.step(act(seen, place))
        return self.env.snapshot()

    def _state(self, counts: Counts) -> State:
        def act(seen: Any, place: int) -> Any:
            values = criteria.scores("l1", seen, self.env)
            mask = criteria.keep_best(values, counts[place], len(seen["action_mask"]))
            return {"mask": mask, "duration": np.zeros(1, np.float32)}

        return self._played(act)

    def trained(self, name: str, counts: Counts, share: float, seed: int, test: bool) -> float:
        """Accuracy of these counts after a share of the budget, on validation or on test."""
        for line in self.done:
            same = line.get("counts") == list(counts) and line.get("share") == share
            if same and line["seed"] == seed and line["split"] == ("test" if test else "val"):
                return float(line["accuracy"])
        baseline, state = self.env.baseline, self._state(counts)
        size = min(BUDGET_TUNING.batch_size, len(baseline.train_split))
        macs = share * self.task.budget * epoch_of(baseline)
        batches = FinalTuning.within(macs, size, state.costs).batches
        epochs = epochs_of(baseline, batches)
        _, validation, tested = fine_tune(baseline, state, epochs, seed, BUDGET_TUNING)
        accuracy = tested.final if test else validation.final
        self._write(
            {
                "name": name,
                "counts": list(counts),
                "share": share,
                "seed": seed,
                "split": "test" if test else "val",
                "accuracy": round(accuracy, 4),
                "before": round(validation.after_search or 0.0, 4),
            }
        )
        return accuracy

    def fitted(self, ratios: Sequence[float]) -> Counts:
        """The widest counts in these proportions that meet the target, filled up."""
        wanted = np.array(ratios, float)

        def at(factor: float) -> Counts:
            return tuple(
                next((each for each in legal if each >= round(factor * ratio)), legal[-1])
                for legal, ratio in zip(self.losses.legal, wanted, strict=True)
            )

        low, high = 0.0, 4.0
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if self.losses.meets(at(middle)) else (low, middle)
        return self.losses.filled(at(low))

    def starts(self) -> dict[str, Counts]:
        """The allocations that the search begins with, by name."""
        one = self.one_ratio()
        agent = Knapsack(self.env)
        found = {"l1": one, "equal": equal(self.losses), "knapsack": agent.allocate(self.losses)}
        for name in ("equal", "knapsack"):
            mean = np.sqrt(np.array(found[name]) * np.array(one))
            found[f"{name}+l1"] = self.fitted(mean.tolist())
        return found

    def run(self, deep: bool) -> float:
        """Search; the room after the starts, in points on validation, or of the result on test."""
        starts = self.starts()
        full = {n: self.trained(n, c, 1.0, SELECTION, False) for n, c in starts.items()}
        room = 100 * (max(full.values()) - full["l1"])
        print(f"{self.task.name}: room of the starts on validation {room:+.1f} {full}", flush=True)
        if not deep or any(line["name"] == "result" for line in self.done):
            return room
        pool = {starts[n]: self.trained(n, starts[n], PART, SELECTION, False) for n in starts}
        random = np.random.default_rng(0)
        for _ in range(GENERATIONS):
            best = sorted(pool, key=lambda counts: -pool[counts])[:4]
            for _ in range(CHILDREN):
                first, second = random.choice(len(best), 2)
                mean = np.sqrt(np.array(best[first]) * np.array(best[second]))
                child = self.fitted(
                    (mean * np.exp(SPREAD * random.standard_normal(len(mean)))).tolist()
                )
                pool[child] = self.trained("mutant", child, PART, SELECTION, False)
        mutants = [c for c in sorted(pool, key=lambda c: -pool[c]) if c not in starts.values()]
        last = {counts: full[name] for name, counts in starts.items()}
        for counts in mutants[:FINALISTS]:
            last[counts] = self.trained("finalist", counts, 1.0, SELECTION, False)
        reference = max(last, key=lambda counts: last[counts])
        tests = {
            name: [self.trained(name, counts, 1.0, seed, True) for seed in FRESH]
            for name, counts in (("l1", starts["l1"]), ("reference", reference))
        }
        room = 100 * float(np.mean(tests["reference"]) - np.mean(tests["l1"]))
        facts = {"room": round(room, 2), "counts": list(reference), "seeds": list(FRESH)}
        facts |= {"version": self.task.version, "fingerprint": self.task.fingerprint}
        self._write({"name": "result"} | facts | tests)
        return room


CANDIDATES = [
    with_room("mobilenetv2-macs", "MobileNetV2", {"macs": 0.25}),
    with_room("mobilenetv2-latency", "MobileNetV2", {"latency": 0.3}),
    with_room("resnet20-8x", "ResNet20", {"macs": 0.125}),
    with_room("resnet20-11x", "ResNet20", {"macs": 0.09}),
    with_room("resnet20-latency-0.3", "ResNet20", {"latency": 0.3}),
    with_room("resnet20-macs-latency", "ResNet20", {"macs": 0.125, "latency": 0.2}),
]
"""Tasks that were tried and not admitted; the admitted ones are tasks of the benchmark."""


def task_of(name: str) -> Task:
    """A candidate or a task of the benchmark."""
    return next((task for task in CANDIDATES if task.name == name), None) or find(name)


def main() -> None:
    """Search the room of the named tasks: the starts of all first, then those that have some."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    rooms: dict[str, float] = {}
    for deep in (False, True):
        for name in sorted(arguments.names, key=lambda n: -rooms.get(n, 0)):
            if deep and rooms.get(name, 0) <= 0.2:
                continue
            try:
                search = Search(task_of(name), arguments.out / f"{name}.jsonl")
                rooms[name] = search.run(deep)
            except Exception as error:
                print(f"{name} FAILED {type(error).__name__}: {error}", flush=True)
    print(rooms)


if __name__ == "__main__":
    main()
