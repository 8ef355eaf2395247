"""Two environments at a time: Gymnasium's plain ways beside this project's.

Each case runs in a Python process of its own, so that its start and its memory can be told from
the others'; the cases take turns.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.speed.step import alternate
from benchmarks.speed.table import Row
from prune_gym import baselines
from prune_gym.data import load_dataset
from prune_gym.envs import PruningEnv

ID, ENVS = "prune_gym:PruneResNet20-v0", 2
PLAIN = "Gymnasium's sync, nothing shared"
CASES: dict[str, dict[str, Any]] = {
    PLAIN: {},
    "Gymnasium's async, spawned": {
        "vectorization_mode": "async",
        "vector_kwargs": {"context": "spawn"},
    },
    "one process, all cores": {"processes": 1},
    "one process, 1 thread": {"processes": 1, "threads": 1},
    "2 worker processes": {"processes": ENVS},
    "2 worker processes, spawned": {"processes": ENVS, "start_method": "spawn"},
}
DURATIONS = (0.0, 0.25)


def rows(episodes: int) -> list[Row]:
    """Steps a second, start and memory of every case, beside Gymnasium's plain sync.

    Args:
        episodes: How many each case plays at duration 0; a third of it with fine-tuning.

    Returns:
        The rows.
    """
    players: dict[str, _Player] = {}
    starts: dict[str, float] = {}
    memory: dict[str, float] = {}
    rates: dict[float, dict[str, float]] = {}
    try:
        for label in CASES:
            players[label] = _Player(label)
            starts[label] = players[label].ask("make")
        for duration in DURATIONS:
            cases = {
                label: lambda seed, p=player, d=duration: p.ask("play", seed, d)
                for label, player in players.items()
            }
            turns = episodes if duration == 0 else max(1, episodes // 3)
            rates[duration] = alternate(cases, turns)
        for label, player in players.items():
            memory[label] = player.memory()
    finally:
        for player in players.values():
            player.close()
    result = []
    for label in CASES:
        what = f"{ENVS} envs, {label}"
        for duration, found in rates.items():
            measured = f"{what}: duration {duration:g}"
            result.append(Row(measured, found[label], "steps/s", found[PLAIN], faster=True))
        result.append(Row(f"{what}: start", starts[label], "s", starts[PLAIN]))
        result.append(Row(f"{what}: memory", memory[label], "MiB", memory[PLAIN]))
    return result


class _Player:
    """A case in a process of its own, asked and answering in lines of JSON."""

    def __init__(self, label: str) -> None:
        command = [sys.executable, "-m", "benchmarks.speed.vector", label]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        self.ask("ready")  # the imports, which all cases have, are not timed

    def ask(self, *question: Any) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{self.process.args!r} has ended; what it printed stands above")
        return float(json.loads(answer))

    def memory(self) -> float:
        """Of it and the processes below it in MiB; what several share counts once."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(path.parent.name)] = int(path.read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue  # it has ended meanwhile
        family = [self.process.pid]
        for member in family:  # grows as it goes
            family += [pid for pid, parent in parents.items() if parent == member]
        return sum(_proportional(pid) for pid in family)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _proportional(pid: int) -> float:
    """A process's proportional set size in MiB (Linux)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"no Pss in /proc/{pid}/smaps_rollup")


def make(label: str) -> Any:
    """The vector environment of a case."""
    if label != PLAIN:
        return gym.make_vec(ID, num_envs=ENVS, **CASES[label])

    def own() -> gym.Env:
        # A network that is handed over is nobody else's, and so is the task around it.
        return PruningEnv(baselines.load("resnet20", load_dataset("shapes")))

    return gym.vector.SyncVectorEnv([own] * ENVS)


def play(env: Any, seed: int, duration: float) -> float:
    """Steps a second over one episode of all sub-environments."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    width, steps = env.single_action_space["mask"].shape[0], 9
    started = time.perf_counter()
    for _ in range(steps):
        kept = rng.uniform(0.3, 0.95, (ENVS, 1))
        mask = (rng.random((ENVS, width)) < kept).astype(np.int8)
        env.step({"mask": mask, "duration": np.full((ENVS, 1), duration, np.float32)})
    return steps * ENVS / (time.perf_counter() - started)


def main() -> None:
    """Answer what a :class:`_Player` asks."""
    env: Any = None
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        started = time.perf_counter()
        if command == "make":
            env = make(sys.argv[1])
            env.reset(seed=0)
        figure = play(env, *arguments) if command == "play" else time.perf_counter() - started
        print(json.dumps(figure), file=answers, flush=True)
    if env is not None:
        env.close()


if __name__ == "__main__":
    main()
