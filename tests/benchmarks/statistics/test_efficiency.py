"""Best-so-far curves against a plain loop, and how they are put together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.statistics.efficiency import aggregate_curves, best_so_far, common_grid

episodes = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 100), st.booleans()), min_size=1, max_size=12
)


@given(episodes, st.lists(st.integers(0, 60), max_size=8))
def test_best_so_far_is_what_a_loop_finds(played, grid):
    spent = sorted(cost for cost, _, _ in played)
    accuracy = [value for _, value, _ in played]
    valid = [fine for _, _, fine in played]
    curve = best_so_far(spent, accuracy, valid, grid)
    for cost, value in zip(grid, curve, strict=True):
        found = [a for s, a, v in zip(spent, accuracy, valid, strict=True) if v and s <= cost]
        assert np.isnan(value) if not found else value == max(found)


def test_the_grid_is_where_something_happens():
    grid = common_grid([[1, 5], [2, 5, 9]])
    assert grid.tolist() == [1, 2, 5, 9]
    long = common_grid([range(10_000)], most=100)
    assert long.size == 100
    assert (long[0], long[-1]) == (0, 9999)
    assert common_grid([]).size == 0


def test_curves_begin_where_every_run_has_a_network():
    curves = [[np.nan, 0.5, 0.7], [0.1, 0.3, 0.3], [np.nan, 0.4, 0.8]]
    whole = aggregate_curves(curves)
    assert np.isnan(whole[0])
    assert whole[1:] == pytest.approx([0.4, 0.6])
    assert np.isnan(aggregate_curves([[np.nan], [1.0]])).all()
    # Of five runs the best and the worst are left out.
    assert aggregate_curves([[0], [1], [2], [3], [99]]).tolist() == [2]
