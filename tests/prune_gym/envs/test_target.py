"""Episodes with a target: actions are clipped as in AMC, and the final network meets it."""

import json

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prune_gym.envs.observation import filter_rows
from prune_gym.errors import TargetError, UnknownNameError
from tests.conftest import actions
from tests.prune_gym.envs.test_feasibility import PLATFORMS, cost_model, target_of

FAST = {"recovery": "none", "eval_images": 32, "repair_images": 32}
TARGETS = (
    {"macs": 0.4},
    {"params": 0.45},
    {"latency": 0.6},
    {"energy": 0.6},
    {"macs": 0.6, "latency": 0.55},
)


def keep(env, filters, duration=0.0):
    mask = np.zeros(env.width, np.int8)
    mask[list(filters)] = 1
    return {"mask": mask, "duration": np.array([duration], np.float32)}


@pytest.fixture(scope="module")
def environments(tiny_trained, residual_trained):
    """Environments with many settings, each made once."""
    from prune_gym.envs import PruningEnv

    made = {}

    networks = {"chained": tiny_trained, "tied": residual_trained}

    def make(network, **arguments):
        key = network, json.dumps(arguments, sort_keys=True)
        if key not in made:
            made[key] = PruningEnv(*networks[network], threads=1, batch_size=32, **arguments)
        return made[key]

    return make


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    kind=st.sampled_from([("chained", "inner"), ("tied", "all")]),
    target=st.sampled_from(TARGETS),
    order=st.sampled_from(["forward", "backward"]),
    rules=st.sampled_from([(1, 1), (2, 1), (1, 2)]),
    density=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    seed=st.integers(0, 1000),
)
def test_random_actions_meet_the_target(environments, kind, target, order, rules, density, seed):
    settings_ = {"min_keep": rules[0], "round_to": rules[1], "order": order, "scope": kind[1]}
    env = environments(kind[0], target=target, **settings_, **FAST)
    rng = np.random.default_rng(seed)
    _, info = env.reset(seed=seed)
    assert info["target_met"] is False
    terminated = False
    while not terminated:
        bits = (rng.random(env.width) < density).astype(np.int8)
        action = {"mask": bits, "duration": np.zeros(1, np.float32)}
        *_, terminated, _, info = env.step(action)
        channels = env.visited[info["position"] - 1].channels
        executed, asked = info["mask"][:channels].astype(bool), bits[:channels].astype(bool)
        assert info["mask_changed"] == (executed != asked).any()
        kept = executed.sum()
        assert kept >= rules[0]
        assert kept == channels or kept % rules[1] == 0
        # Filters are removed or added, never replaced.
        assert not (asked & ~executed).any() or not (executed & ~asked).any()
        name = env.visited[info["position"] - 1].name
        assert env.kept[name].tolist() == np.flatnonzero(executed).tolist()
        assert env.snapshot().history[-1].mask.tolist() == executed.tolist()
    assert info["target_met"] is True
    full, costs = env.baseline.costs.of(), env.snapshot().costs
    for cost, share in target.items():
        assert costs.of(cost) <= share * full.of(cost)


def test_an_action_that_keeps_the_target_in_reach_is_not_clipped(make_each_env):
    free = make_each_env(**FAST)
    bound = make_each_env(target={"macs": 0.5}, reward="step", **FAST)
    chosen = [keep(free, [0, 2, 5]), keep(free, [1, 3])]
    for env in (free, bound):
        env.reset(seed=0)
    for action in chosen:
        one, two = free.step(action), bound.step(action)
        assert two[4]["mask_changed"] is False
        assert data_equivalence(one[:4], two[:4], exact=True)


def test_filters_with_the_smallest_l1_norms_are_dropped(make_tiny_env):
    env = make_tiny_env(target={"macs": 0.5}, recovery="lsq", repair_images=64)
    env.reset(seed=0)
    for asked in ([0, 1, 2, 3, 5], [0, 1, 2, 4]):
        space = env.snapshot().space(env.visited[env.snapshot().position].name)
        l1 = filter_rows(env.network.module, space).abs().sum(1).numpy()
        *_, info = env.step(keep(env, asked))
        kept = np.flatnonzero(info["mask"]).tolist()
        assert info["mask_changed"]
        assert 0 < len(kept) < len(asked)
        assert kept == sorted(sorted(asked, key=lambda i: -l1[i])[: len(kept)])


def test_a_tied_filter_is_dropped_by_the_norms_of_all_its_producers(make_tied_env):
    env = make_tied_env(target={"macs": 0.3}, recovery="none")
    env.reset(seed=0)
    *_, info = env.step(keep(env, range(8)))
    module = env.baseline.module
    l1 = sum(layer.weight.abs().sum((1, 2, 3)) for layer in (module.stem, module.outer))
    kept = np.flatnonzero(info["mask"]).tolist()
    assert 0 < len(kept) < 8
    assert kept == sorted(l1.argsort(descending=True)[: len(kept)].tolist())


def test_filters_with_the_largest_l2_norms_are_added():
    model, visited = cost_model("inner", PLATFORMS[2])
    target = target_of({"latency": 0.97}, model, visited, 0.9)
    asked = np.array([False, True, False, False])
    norms = np.array([3.0, 1.0, 2.0, 4.0])
    mask = target.hold(asked, (), norms[::-1], norms)
    assert mask.tolist() == [True, True, False, True]


def test_tried_actions_are_clipped_like_steps(make_each_env):
    env = make_each_env(target={"macs": 0.3, "latency": 0.5})
    env.reset(seed=3)
    for _ in env.visited:
        candidates = [*actions(env, 5, 3), keep(env, range(5), 1.0)]
        tried = env.try_actions(candidates)
        before = env.snapshot()
        for action, (reward, info) in zip(candidates, tried, strict=True):
            env.restore(before)
            _, stepped, _, _, step_info = env.step(action)
            assert stepped == reward
            assert info.pop("search_macs") == step_info.pop("search_macs")
            assert data_equivalence(info, step_info, exact=True)
    assert step_info["target_met"]


def test_a_snapshot_continues_in_another_environment(make_each_env):
    one, two = (make_each_env(target={"latency": 0.5}, **FAST) for _ in range(2))
    one.reset(seed=1)
    one.step(keep(one, range(5)))
    two.reset(seed=2)
    two.restore(one.snapshot())
    action = keep(one, range(5))
    assert data_equivalence(one.step(action), two.step(action), exact=True)


def test_a_state_from_which_the_target_is_out_of_reach_is_refused(make_tiny_env):
    free, bound = make_tiny_env(**FAST), make_tiny_env(target={"macs": 0.2}, **FAST)
    for env in (free, bound):
        env.reset(seed=0)
    free.step(keep(free, range(6)))
    bound.restore(free.snapshot())
    with pytest.raises(TargetError, match=r"out of reach.*reset\(\)"):
        bound.step(keep(bound, [0]))


def test_the_ratio_for_the_target_meets_it_without_clipping(make_each_env):
    env = make_each_env(target={"macs": 0.4}, **FAST)
    ratio = env.ratio_for_target()
    env.reset(seed=0)
    for space in env.visited:
        wanted = max(1, round(ratio * space.channels))
        *_, info = env.step(keep(env, range(wanted)))
        assert not info["mask_changed"]
    assert info["target_met"]
    assert make_each_env(**FAST).ratio_for_target() is None
    assert make_each_env(target={"accuracy": 0.1}, **FAST).ratio_for_target() is None


def test_the_ratio_for_the_rest_compensates_for_earlier_layers(make_each_env):
    env = make_each_env(target={"macs": 0.5}, **FAST)
    with pytest.raises(ResetNeeded):
        env.ratio_for_rest()
    ratios = []
    for first in (1, env.visited[0].channels):
        env.reset(seed=0)
        assert env.ratio_for_rest() == env.ratio_for_target()
        *_, info = env.step(keep(env, range(first)))
        ratios.append(env.ratio_for_rest())
        for space in env.visited[1:]:
            wanted = max(1, round(env.ratio_for_rest() * space.channels))
            *_, info = env.step(keep(env, range(wanted)))
            assert not info["mask_changed"]
        assert info["target_met"]
        assert env.ratio_for_rest() is None
    assert ratios[0] > ratios[1]
    env = make_each_env(**FAST)
    env.reset(seed=0)
    assert env.ratio_for_rest() is None


def test_accuracy_is_reported_but_not_enforced(make_tiny_env):
    """With one filter in each layer, this network loses accuracy."""
    for target, first, last in (
        ({"accuracy": 0.0}, True, False),
        ({"accuracy": 0.0, "macs": 0.9}, False, False),
        ({"accuracy": 1.0, "macs": 0.9}, False, True),
    ):
        env = make_tiny_env(target=target, **FAST)
        _, info = env.reset(seed=0)
        assert info["target_met"] is first
        for _ in env.visited:
            *_, info = env.step(keep(env, [0]))
            assert not info["mask_changed"]
        assert env.baseline.accuracy - info["accuracy"] > 0
        assert info["target_met"] is last


def test_without_a_target_every_network_meets_it(make_tiny_env):
    env = make_tiny_env(**FAST)
    _, info = env.reset(seed=0)
    assert info["target_met"] is True
    assert env.step(keep(env, [0]))[4]["target_met"] is True


def test_gymnasium_checker(make_each_env):
    check_env(make_each_env(target={"energy": 0.6}, **FAST), skip_render_check=True)


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ({"mac": 0.5}, UnknownNameError, "Unknown target 'mac'. Did you mean 'macs'"),
        ({"macs": 0}, ValueError, "macs=0 must be a share"),
        ({"macs": 0.01}, TargetError, r"macs=0.01 cannot be reached: the least .* macs=0\.1"),
    ],
)
def test_bad_targets_are_refused_when_the_environment_is_made(
    make_tiny_env, target, error, message
):
    with pytest.raises(error, match=message):
        make_tiny_env(target=target, **FAST)


def test_the_reached_figures_are_compared_with_the_wanted_ones():
    model, visited = cost_model("inner", PLATFORMS[0])
    found, costs = target_of({"macs": 0.5, "accuracy": 0.02}, model, visited, 0.9), model.of()
    assert found.reached(costs, 0.85) == {"macs": 1.0, "accuracy": pytest.approx(0.05)}
    assert not found.met(costs, 0.9)
    assert target_of({"accuracy": 0.02}, model, visited, 0.92).met(model.of(), 0.9)
    assert not target_of({"accuracy": 0.02}, model, visited, 0.92).met(model.of(), 0.899)
    assert target_of(None, model, visited, 0.9).met(model.of(), 0.0)


@pytest.mark.parametrize("mode", ["filters", "alf"])
def test_target_rewards_add_up_to_the_final_accuracy_term(make_each_env, mode):
    reward = {"reward": "target", "tolerance": 1.0, "duration_weight": 0}
    env = make_each_env(action_mode=mode, scope="all", target={"macs": 0.6}, **reward)
    check_env(env, skip_render_check=True)
    env.reset(seed=5)
    total = 0.0
    for action in actions(env, 5):
        _, reward, _, _, info = env.step(action)
        total += reward
    psi = env.reward_function.psi(info["accuracy"])
    # The sum does not depend on how far the costs are below the target.
    assert info["target_met"]
    assert total == pytest.approx(psi * np.log(1 / 0.6))
