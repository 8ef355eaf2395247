"""Rendering: a table and a chart of the episode so far."""

import numpy as np

from tests.conftest import actions


def test_render(make_each_env):
    env = make_each_env(render_mode="ansi")
    env.reset(seed=0)
    env.step(actions(env, 0)[0])
    lines = env.render().splitlines()
    assert lines[0].startswith("space")
    assert [line.split()[0] for line in lines[1:-1]] == [space.name for space in env.visited]
    assert "params" in lines[-1]
    env = make_each_env(render_mode="rgb_array")
    env.reset(seed=0)
    empty = env.render()
    for action in actions(env, 0):
        env.step(action)
    picture = env.render()
    assert picture.shape[2] == 3
    assert picture.dtype == np.uint8
    assert (picture != empty).any()
