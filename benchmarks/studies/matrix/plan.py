"""The comparisons of each table: tasks, agents and seeds."""

from dataclasses import dataclass

from benchmarks.studies.matrix import hardware
from benchmarks.tasks import HARDWARE, hardware_task

CONTROLS = ("random", "uniform", "l1", "fpgm")
LEARNING = ("l2pf", "try_and_learn", "amc", "ppo")
MANY = (*CONTROLS, "alf", *LEARNING, "greedy", "evolution", "sac")
FIXED = (0.0625, 0.125, 0.25, 0.5, 1.0)
"""Fixed durations beside the learned ones, in epochs of 5,000 images a layer."""
ARMS = ("l2pf", *(f"l2pf@fixed_duration={duration:g}" for duration in FIXED))


@dataclass(frozen=True)
class Comparison:
    """A table of :data:`TABLES`, the task, and the agents that it compares."""

    table: str
    task: str
    agents: tuple[str, ...]
    seeds: int


def _hardware(seeds: int, short: bool) -> tuple[Comparison, ...]:
    comparisons = []
    for objective, shares in HARDWARE.items():
        for share in shares:
            # On two cores there is time for the controls at the middle target alone.
            beside = hardware.CONTROLS if not short or share == sorted(shares)[1] else ()
            name = hardware_task(objective, share, short)
            comparisons.append(Comparison("hardware", name, (hardware.SEARCHER, *beside), seeds))
    return tuple(comparisons)


SCALES = {
    "short": (
        Comparison("agents", "cifar10-3.84x-short", (*CONTROLS, "alf", *LEARNING), 3),
        Comparison("resnet56", "cifar10-resnet56-2x-short", ("l1", "l2pf", "random", "uniform"), 1),
        # An episode at duration 1 alone would spend three times the budget.
        Comparison("durations", "cifar10-durations-short", ARMS[:-1], 1),
        *_hardware(1, short=True),
    ),
    "full": (
        Comparison("agents", "cifar10-3.84x", MANY, 5),
        Comparison("agents", "cifar10-2x", (*CONTROLS, *LEARNING), 5),
        Comparison("resnet56", "cifar10-resnet56-2x", ("random", "uniform", "l1", "l2pf"), 3),
        Comparison("durations", "cifar10-durations", ARMS, 5),
        *_hardware(3, short=False),
    ),
}
"""``short`` takes two cores some hours; ``full`` is for a GPU."""
TABLES = ("agents", "resnet56", "durations", "hardware")
