"""A budget is shared by search, final fine-tune and teacher, and all of it is used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prune_gym.costs import StepCosts
from prune_gym.errors import PruneGymError
from prune_gym.runs.compute import Compute, FinalTuning, check_spent, epoch_macs


def costs(macs):
    return StepCosts(1, macs, 1, 1.0, 1.0)


def spent(length):
    return length.tuning + length.teacher


@given(own=st.integers(1, 1000), size=st.integers(1, 64), left=st.floats(-1e6, 1e9))
def test_the_longest_fine_tune_that_the_rest_allows(own, size, left):
    pruned = costs(own)
    length = FinalTuning.within(left, size, pruned)
    assert length == FinalTuning.of(length.batches, size, pruned, None)
    assert length.batches >= 0
    assert spent(length) <= max(0, left)
    assert spent(FinalTuning.of(length.batches + 1, size, pruned, None)) > left


def test_an_epoch_of_the_unpruned_network_is_an_epoch_equivalent_without_its_teacher():
    length = FinalTuning.of(10, 5, costs(7), costs(9))
    assert length.tuning == epoch_macs(7, 50)
    assert length.teacher == 9 * 50


def test_the_line_tells_how_it_was_shared():
    compute = Compute(epoch=100, search=50, tuning=125, teacher=25)
    assert compute.total == 2
    assert compute.searched == 0.25
    assert compute.line(2.0).split(maxsplit=1)[1] == (
        "2.00 of 2 (search 0.50, fine-tune 1.25, teacher 0.25)"
    )
    assert " of " not in compute.line(None)


def test_a_search_may_exceed_its_budget_by_two_percent():
    check_spent(2.0, 203, 100, "runs/x")
    with pytest.raises(PruneGymError, match=r"took 2\.05 of 2 .*--resume runs/x --budget 3\.1"):
        check_spent(2.0, 205, 100, "runs/x")
