"""Frozen references of the tasks with room."""

from dataclasses import replace

import gymnasium as gym
import pytest

from benchmarks import references
from benchmarks.references import reference_of
from benchmarks.tasks import TASKS
from prune_gym.envs import PruningEnv

NAMES = sorted(references.references())


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_is_of_the_present_task_and_has_room(name):
    found = reference_of(name, TASKS[name].version)
    assert found is not None
    assert found.room >= 0.01  # the rule of admission
    assert len(found.seeds) == len(found.l1) == len(found.reference) == 3


@pytest.mark.parametrize("name", NAMES)
def test_a_reference_meets_the_target_of_its_task(name):
    task = TASKS[name]
    env = gym.make(task.env_id, threads=1, **task.environment).unwrapped
    assert isinstance(env, PruningEnv)
    counts = references.references()[name].counts
    legal = env.target.legal()
    assert all(count in own for count, own in zip(counts, legal, strict=True))
    assert max(env.target.excess(counts).values()) <= 1


def test_captured_headroom_is_0_for_one_ratio_and_1_for_the_reference():
    found = references.references()[NAMES[0]]
    found = replace(found, l1=(0.5, 0.6, 0.7), reference=(0.7, 0.8, 0.9))
    assert found.captured(0.6) == pytest.approx(0)
    assert found.captured(0.8) == pytest.approx(1)
    assert found.captured(0.5) == pytest.approx(-0.5)
    assert found.captured(0.9) == pytest.approx(1.5)


def test_another_version_or_task_has_no_reference():
    assert reference_of(NAMES[0], TASKS[NAMES[0]].version + 1) is None
    assert reference_of("smoke", TASKS["smoke"].version) is None
