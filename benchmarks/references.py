"""References of the tasks that have room: the best allocations of an offline search.

``references.json`` was written by :mod:`benchmarks.studies.room` before any agent ran.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

from benchmarks.tasks import TASKS
from prune_gym.jsonfile import JsonRecord, Share, Whole, read_json

PATH = Path(__file__).with_name("references.json")


@dataclass(frozen=True)
class Reference(JsonRecord):
    """The best allocation that a search without agents found, and one ratio beside it.

    Args:
        version: Version of the task.
        fingerprint: That of the task; another task has another reference.
        counts: Channels of the visited spaces.
        seeds: Seeds of the trainings with the whole budget.
        l1: Test accuracies of one ratio for all layers, one for each seed.
        reference: Test accuracies of ``counts``.
    """

    version: Whole
    fingerprint: str
    counts: tuple[Whole, ...]
    seeds: tuple[int, ...]
    l1: tuple[Share, ...]
    reference: tuple[Share, ...]

    @property
    def room(self) -> float:
        """How far the reference is above one ratio, as a share."""
        return fmean(self.reference) - fmean(self.l1)

    def captured(self, test: float) -> float:
        """The captured headroom of a test accuracy (this project's choice).

        0 is one ratio, 1 the reference; values below 0 and above 1 stay. One ratio is the
        reference's own control, trained with the whole budget on three seeds.
        """
        return (test - fmean(self.l1)) / self.room


@cache
def references() -> Mapping[str, Reference]:
    """The references of all tasks that have one, by the task's name."""
    content, _ = read_json(PATH)
    return {
        name: Reference.from_json(value, f"{str(PATH)!r}, {name}")
        for name, value in content.items()
    }


def reference_of(task: str, version: int) -> Reference | None:
    """The reference of a task; None if it has none or is of another version."""
    found = references().get(task)
    if found is None or found.version != version:
        return None
    return found if found.fingerprint == TASKS[task].fingerprint else None
