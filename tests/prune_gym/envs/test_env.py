"""The environment: its interface, its determinism, and the effects of a step."""

import pickle
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence

from prune_gym.pruning import masked
from prune_gym.pruning.saved import masks_from_kept
from tests.conftest import actions


def rollout(env, seed, chosen):
    steps = [env.reset(seed=seed)]
    for action in chosen:
        steps.append(env.step(action))
    weights = {name: tensor.clone() for name, tensor in env.network.module.state_dict().items()}
    return steps, weights


@pytest.mark.parametrize("scope", ["inner", "all"])
@pytest.mark.parametrize("observation", ["features", "weights"])
@pytest.mark.parametrize("recovery", ["none", "bn", "lsq"])
def test_gymnasium_checker(make_each_env, scope, observation, recovery):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_each_env(scope=scope, observation=observation, recovery=recovery)
        check_env(env, skip_render_check=True)


@pytest.mark.float
def test_same_seed_and_actions_give_the_same_bits(make_each_env):
    first, second = make_each_env(), make_each_env()
    chosen = actions(first, 7)
    one, weights = rollout(first, 3, chosen)
    two, others = rollout(second, 3, chosen)
    again, third = rollout(first, 3, chosen)
    assert data_equivalence(one, two, exact=True)
    assert data_equivalence(one, again, exact=True)
    for name in weights:
        assert torch.equal(weights[name], others[name])
        assert torch.equal(weights[name], third[name])


def test_another_seed_trains_differently(make_each_env):
    env = make_each_env()
    chosen = actions(env, 7)
    for action in chosen:
        action["duration"][:] = 1
    _, one = rollout(env, 3, chosen)
    _, two = rollout(env, 4, chosen)
    assert any(not torch.equal(one[name], two[name]) for name in one)


@pytest.mark.float
def test_cut_without_training_equals_the_masked_baseline(make_each_env):
    env = make_each_env(recovery="none")
    env.reset(seed=0)
    chosen = actions(env, 1)
    for action in chosen:
        action["duration"][:] = 0
        *_, info = env.step(action)
    masks = masks_from_kept(env.baseline.network, env.kept)
    silenced = masked(env.baseline.module, env.baseline.network.spaces, masks)
    with torch.no_grad():
        expected = silenced(env.baseline.eval_images[:])
        actual = env.network.module(env.baseline.eval_images[:])
    assert torch.allclose(expected, actual, atol=1e-4)
    correct = (expected.argmax(1) == env.baseline.eval_labels).float().mean()
    assert info["accuracy"] == pytest.approx(float(correct))


@pytest.mark.float
def test_keeping_all_without_training_changes_nothing(make_each_env):
    env = make_each_env()
    _, start = env.reset(seed=0)
    everything = np.ones(env.width, np.int8)
    for _ in env.visited:
        _, _, terminated, truncated, info = env.step(
            {"mask": everything, "duration": np.zeros(1, np.float32)}
        )
        assert info["rewards"]["phi_prune"] == 0
        assert info["accuracy"] == start["accuracy"]
    assert terminated
    assert not truncated
    weights = env.network.module.state_dict()
    baseline = env.baseline.module.state_dict()
    assert all(torch.equal(weights[name], baseline[name]) for name in baseline)


def test_info_holds_the_size_of_the_cut_network(make_each_env):
    env = make_each_env()
    env.reset(seed=0)
    for action in actions(env, 2):
        *_, info = env.step(action)
        module = env.network.module
        assert info["params"] == sum(p.numel() for p in module.parameters())
        assert info["params_ratio"] == pytest.approx(
            env.baseline.costs.of().params / info["params"]
        )


def test_duration_is_rounded_to_batches(make_tiny_env):
    env = make_tiny_env(max_epochs=0.5)  # 256 images, batches of 32: 4 batches
    assert env.max_batches == 4
    mask = np.ones(env.width, np.int8)
    for duration, batches in [(0, 0), (0.1, 0), (0.13, 1), (0.5, 2), (1, 4)]:
        env.reset(seed=0)
        *_, info = env.step({"mask": mask, "duration": np.array([duration], np.float32)})
        assert info["batches"] == batches


def test_an_empty_mask_keeps_the_filter_of_largest_norm(make_tiny_env):
    env = make_tiny_env()
    env.reset(seed=0)
    norms = env.baseline.module.first.weight.detach().flatten(1).norm(dim=1)
    empty = np.zeros(env.width, np.int8)
    *_, info = env.step({"mask": empty, "duration": np.zeros(1, np.float32)})
    assert np.flatnonzero(info["mask"]).tolist() == [int(norms.argmax())]
    assert info["mask_changed"] is True


def test_the_padded_tail_is_ignored(make_tiny_env):
    env = make_tiny_env(order="backward")  # 5 filters in the first space, width 6
    env.reset(seed=0)
    mask = np.array([1, 0, 1, 0, 0, 1], np.int8)
    *_, info = env.step({"mask": mask, "duration": np.zeros(1, np.float32)})
    assert info["mask"].tolist() == [1, 0, 1, 0, 0, 0]
    assert info["mask_changed"] is False


def test_min_keep_and_round_to(make_tiny_env):
    env = make_tiny_env(min_keep=3, round_to=2)
    env.reset(seed=0)
    mask = np.zeros(env.width, np.int8)
    *_, info = env.step({"mask": mask, "duration": np.zeros(1, np.float32)})
    assert info["mask"].sum() == 4


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"mask": np.ones(5, np.int8), "duration": np.zeros(1)}, r"shape \(5,\)"),
        ({"mask": np.full(6, 2), "duration": np.zeros(1)}, "only 0 and 1"),
        ({"mask": np.full(6, np.nan), "duration": np.zeros(1)}, "only 0 and 1"),
        ({"mask": np.ones(6), "duration": np.array([1.1])}, "0 to 1"),
        ({"mask": np.ones(6), "duration": np.array([-0.1])}, "0 to 1"),
        ({"mask": np.ones(6), "duration": np.array([np.nan])}, "finite"),
        ({"mask": np.ones(6), "duration": np.zeros(2)}, "one finite number"),
        ({"mask": np.ones(6)}, "dict with 'mask' and 'duration'"),
        (np.ones(6), "dict with 'mask' and 'duration'"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(make_tiny_env, action, message):
    env = make_tiny_env()
    observation, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)
    assert env.snapshot().position == 0
    assert data_equivalence(env.restore(env.snapshot())[0], observation, exact=True)


def test_stepping_past_the_end_needs_a_reset(make_tiny_env):
    env = make_tiny_env()
    with pytest.raises(ResetNeeded):
        env.step(actions(env, 0)[0])
    env.reset(seed=0)
    for action in actions(env, 0):
        env.step(action)
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(action)


def test_restore_returns_to_a_snapshot(make_each_env):
    env = make_each_env()
    env.reset(seed=5)
    first, second = actions(env, 9, 2)
    env.step(first)
    state = env.snapshot()
    one = env.step(second)
    env.reset(seed=1)
    env.step(second)
    env.restore(state)
    two = env.step(second)
    assert data_equivalence(one, two, exact=True)


@pytest.mark.float
def test_try_actions_equals_steps_from_a_snapshot(make_each_env):
    env = make_each_env()
    env.reset(seed=5)
    env.step(actions(env, 9)[0])
    env.action_space.seed(1)
    candidates = [env.action_space.sample() for _ in range(3)]
    before = env.snapshot()
    tried = env.try_actions(candidates)
    assert data_equivalence(env.snapshot().random, before.random, exact=True)
    singly = []
    for action in candidates:
        _, reward, _, _, info = env.step(action)
        singly.append((reward, info))
        env.restore(before)
    assert data_equivalence(tried, singly, exact=True)
    _, reward, _, _, info = env.step(candidates[1])
    assert data_equivalence(tried[1], (reward, info), exact=True)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_bad_action_among_others_leaves_the_state_alone(make_each_env, place):
    env, untouched = make_each_env(), make_each_env()
    for each in (env, untouched):
        each.reset(seed=5)
        each.step(actions(each, 9)[0])
    before = env.snapshot()
    tried = actions(env, 9, 2)
    tried.insert(place, {"mask": np.ones(1), "duration": np.zeros(1)})
    with pytest.raises(ValueError, match="shape"):
        env.try_actions(tried)
    after = env.snapshot()
    assert after.token is before.token
    assert (after.position, after.history, after.kept) == (1, before.history, before.kept)
    assert data_equivalence(after.random, before.random, exact=True)
    chosen = actions(env, 3)[1]
    chosen["duration"][:] = 1
    step, expected = env.step(chosen), untouched.step(chosen)
    assert data_equivalence(step, expected, exact=True)


def test_search_macs_follow_the_formula(make_tiny_env):
    env = make_tiny_env(recovery="bn")
    env.reset(seed=0)
    mask = np.array([1, 1, 0, 0, 0, 0], np.int8)
    *_, info = env.step({"mask": mask, "duration": np.array([0.5], np.float32)})
    images = 3 * 2 * 32 + 64 + 64  # three passes of fine-tuning, repair, evaluation
    assert info["search_macs"] == info["macs"] * images
    assert env.search_macs_total == info["search_macs"]


def test_the_lifetime_total_never_falls(make_each_env):
    env = make_each_env()
    _, info = env.reset(seed=0)
    assert info["search_macs"] == 0
    candidates = actions(env, 1)
    tried = env.try_actions(candidates)
    spent = sum(info["search_macs"] for _, info in tried)
    assert env.search_macs_total == spent
    _, info = env.reset(seed=0)
    assert info["search_macs"] == 0
    assert env.search_macs_total == spent


def test_a_spent_budget_truncates(make_tiny_env):
    env = make_tiny_env(search_budget=1)
    env.reset(seed=0)
    first, second = actions(env, 1)
    observation, _, terminated, truncated, _ = env.step(first)
    assert (terminated, truncated) == (False, True)
    assert observation["layer"][-1] == 0
    *_, terminated, truncated, _ = env.step(second)
    assert (terminated, truncated) == (True, False)


def test_a_network_that_the_user_passes_does_not_change(tiny_trained, make_tiny_env):
    network, _ = tiny_trained
    before = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    env = make_tiny_env()
    env.reset(seed=0)
    for action in actions(env, 4):
        env.step(action)
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.float
def test_pickle_round_trip(make_each_env):
    env = make_each_env()
    env.reset(seed=2)
    chosen = actions(env, 4)
    env.step(chosen[0])
    copy = pickle.loads(pickle.dumps(env))
    assert data_equivalence(env.step(chosen[1]), copy.step(chosen[1]), exact=True)


def test_a_snapshot_of_another_network_is_refused(make_tiny_env):
    env = make_tiny_env()
    env.reset(seed=0)
    state = env.snapshot()
    with pytest.raises(ValueError, match="another network"):
        env.restore(replace(state, spaces=state.spaces[:1]))
