"""Fronts against every pair of points, areas against counted squares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics.pareto import hypervolume, pareto_front

points = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=10)


def sides(found):
    return [a for a, _ in found], [c for _, c in found]


@given(points)
def test_the_front_is_what_no_point_beats(found):
    accuracy, cost = sides(found)
    front = pareto_front(accuracy, cost)
    kept = {found[index] for index in front}
    for a, c in found:
        beaten = any(p >= a and q <= c and (p, q) != (a, c) for p, q in found)
        assert beaten == ((a, c) not in kept)
    assert len(kept) == len(front)
    assert (np.diff(np.asarray(cost)[front]) > 0).all()
    assert (np.diff(np.asarray(accuracy)[front]) > 0).all()


@given(points)
def test_hypervolume_counts_unit_squares(found):
    accuracy, cost = sides(found)
    # A square of side one belongs to a point that is at least as good as its far corner.
    squares = sum(
        any(a >= x + 1 and c <= y for a, c in found) for x in range(2, 8) for y in range(7)
    )
    assert hypervolume(accuracy, cost, reference=(2, 7)) == squares


@given(points, st.tuples(st.integers(0, 8), st.integers(0, 8)))
def test_another_point_never_makes_it_less(found, more):
    assert hypervolume(*sides([*found, more]), (0, 8)) >= hypervolume(*sides(found), (0, 8))


def test_closed_forms():
    assert hypervolume([0.8], [0.25]) == pytest.approx(0.8 * 0.75)
    assert hypervolume([0.9, 0.6], [0.5, 0.25]) == pytest.approx(0.9 * 0.5 + 0.6 * 0.25)
    assert hypervolume([], []) == 0
    assert hypervolume([0.9], [1.2]) == 0


def test_bad_input():
    with pytest.raises(ValueError, match="one and the same"):
        pareto_front([1, 2], [1])
    with pytest.raises(ValueError, match="must be finite"):
        hypervolume([np.nan], [1])
