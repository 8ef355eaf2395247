"""The ALF mode: its interface, its determinism, and the effects of a step on a convolution."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env, data_equivalence

from prune_gym.costs import CostModel
from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError, TargetError
from prune_gym.pruning import Geometry, masked
from prune_gym.wrappers import ActionMaskObservation, FlatBoxAction, adapt
from tests.conftest import actions

SETTINGS = {
    "action_mode": "alf",
    "eval_images": 64,
    "repair_images": 64,
    "batch_size": 32,
    "max_epochs": 0.5,
    "threads": 1,
    "objective": "macs",
}


@pytest.fixture
def make_env(residual_trained):
    """A function that makes environments in the ALF mode with the arguments of PruningEnv."""
    network, dataset = residual_trained

    def make(given=network, **arguments):
        return PruningEnv(given, dataset, **(SETTINGS | arguments))

    return make


def action(sparsity, duration=0.0):
    return {
        "sparsity": np.array([sparsity], np.float32),
        "duration": np.array([duration], np.float32),
    }


def played(env, chosen, seed=0):
    steps = [env.reset(seed=seed)]
    steps += [env.step(each) for each in chosen]
    return steps, {name: t.clone() for name, t in env.network.module.state_dict().items()}


def logits(env, module=None):
    with torch.no_grad():
        return (module or env.network.module)(env.baseline.eval_images[:])


@pytest.mark.parametrize("observation", ["features", "weights"])
@pytest.mark.parametrize("recovery", ["none", "bn", "lsq"])
def test_gymnasium_checker(make_env, observation, recovery):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = make_env(observation=observation, recovery=recovery, scope="all")
        check_env(env, skip_render_check=True)


def test_both_checkers_accept_the_flat_form(make_env):
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    env = adapt(make_env(), "flat_box")
    assert env.action_space == gym.spaces.Box(-1, 1, (2,), np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped.*")
        check_env(env, skip_render_check=True)
        sb3.check_env(env)


def test_visited_spaces(make_env):
    names = ["inner.code", "outer.code", "down.code"]
    assert [space.name for space in make_env().visited] == names
    assert [space.name for space in make_env(order="backward").visited] == names[::-1]
    assert [space.name for space in make_env(scope="all").visited] == ["stem.code", *names]
    assert [space.followers for space in make_env().visited] == [
        ("norm1",),
        ("norm2",),
        ("norm3",),
    ]


@pytest.mark.float
def test_same_seed_and_actions_give_the_same_bits(make_env):
    first, second = make_env(), make_env()
    chosen = actions(first, 7)
    one, weights = played(first, chosen, 3)
    two, others = played(second, chosen, 3)
    again, third = played(first, chosen, 3)
    assert data_equivalence(one, two, exact=True)
    assert data_equivalence(one, again, exact=True)
    for name in weights:
        assert torch.equal(weights[name], others[name])
        assert torch.equal(weights[name], third[name])


@pytest.mark.float
def test_sparsity_0_without_training_changes_nothing(make_env):
    env = make_env(scope="all")
    _, start = env.reset(seed=0)
    for _ in env.visited:
        _, _, terminated, _, info = env.step(action(0))
        assert info["accuracy"] == start["accuracy"]
        assert info["macs"] == start["macs"]
        assert info["merged"] is True
        assert info["reconstruction_error"] == 0
    assert terminated
    assert torch.equal(logits(env), logits(env, env.baseline.module))


@pytest.mark.float
@pytest.mark.parametrize("duration", [0, 1])
def test_sparsity_leaves_fewer_codes_and_costs_less(make_env, duration):
    env = make_env()
    env.reset(seed=0)
    before = env.baseline.costs.of().macs
    for space in env.visited:
        observation, _, _, _, info = env.step(action(0.8, duration))
        assert info["codes"] == info["mask"].sum() <= 0.5 * space.channels
        assert info["macs"] < before
        assert info["autoencoder_updates"] > 0
        assert info["batches"] == duration * env.max_batches
        before = info["macs"]
    alive = [record.mask.mean() for record in env.snapshot().history]
    assert observation["codes_alive"] == pytest.approx(alive)
    assert (observation["reconstruction_error"] > 0).all()


def test_info_holds_the_costs_of_the_network(make_env):
    env = make_env(scope="all", objective="latency")
    env.reset(seed=0)
    for sparsity in (0.8, 0.1, 0.6, 0.7):
        *_, info = env.step(action(sparsity, 0.5))
        module, spaces = env.network.module, env.network.spaces
        geometry = Geometry(module, spaces, env.network.input_shape)
        model = CostModel(
            geometry, env.baseline.costs.accelerator, "latency", env.baseline.costs.batch
        )
        assert env.snapshot().costs == model.of()
        assert info["params"] == sum(p.numel() for p in module.parameters())


@pytest.mark.float
def test_refitting_the_expansion_reduces_the_error(make_env):
    found = {}
    for recovery in ("none", "lsq"):
        env = make_env(recovery=recovery)
        env.reset(seed=0)
        for _ in env.visited:
            env.step(action(0.7))
        found[recovery] = float((logits(env) - logits(env, env.baseline.module)).square().mean())
    assert found["lsq"] < found["none"]


@pytest.mark.float
def test_training_does_not_undo_the_refit(make_env):
    found = {}
    for duration in (0, 0.5):
        env = make_env(objective="macs")
        env.reset(seed=0)
        env.step(action(0.6, duration))
        logits_now = logits(env)
        labels = env.baseline.eval_labels
        found[duration] = float(torch.nn.functional.cross_entropy(logits_now, labels))
    assert found[0.5] < found[0] + 0.1


@pytest.mark.float
def test_trials_equal_steps_and_snapshots_are_restored(make_env):
    env = make_env()
    env.reset(seed=5)
    env.step(action(0.5, 0.5))
    before = env.snapshot()
    spent = env.search_macs_total
    trials = env.try_actions([action(0.7, 1), action(0.2)])
    assert env.search_macs_total > spent
    assert env.snapshot().history == before.history
    _, reward, _, _, info = env.step(action(0.7, 1))
    assert data_equivalence((reward, info), trials[0], exact=True)
    after = logits(env)
    env.restore(before)
    env.step(action(0.7, 1))
    assert torch.equal(logits(env), after)


@pytest.mark.float
@pytest.mark.parametrize("tune", ["all", "suffix"])
def test_fast_and_slow_steps_agree(make_env, tune):
    chosen = [action(0.6), action(0.7, 0.5), action(0.3)]
    fast, weights = played(make_env(tune=tune), chosen)
    slow, others = played(make_env(tune=tune, fast=False), chosen)
    for name in weights:
        assert torch.allclose(weights[name].float(), others[name].float(), atol=1e-4)
    for one, two in zip(fast[1:], slow[1:], strict=True):
        assert one[1] == pytest.approx(two[1], abs=1e-4)
        assert one[4]["codes"] == two[4]["codes"]
        for name, values in one[0].items():
            assert np.allclose(values, two[0][name], atol=1e-3), name


@pytest.mark.float
def test_copies_continue_alike(make_env):
    env = make_env()
    env.reset(seed=1)
    env.step(action(0.6, 0.5))
    for other in (copy.deepcopy(env), pickle.loads(pickle.dumps(env))):
        other.restore(env.snapshot())
        expected = copy.deepcopy(env).step(action(0.5, 0.5))
        assert data_equivalence(other.step(action(0.5, 0.5)), expected, exact=True)


def test_remembered_steps_are_charged_too(make_env):
    env = make_env()
    env.reset(seed=0)
    env.step(action(0.5))
    first = env.search_macs_total
    env.reset(seed=0)
    env.step(action(0.5))
    assert env.search_macs_total == 2 * first
    assert env.snapshot().search_macs == first
    # The MACs include the autoencoder updates.
    macs = env.snapshot().costs.macs
    assert first > macs * len(env.baseline.eval_labels)


@pytest.mark.parametrize("mode", ["ansi", "rgb_array"])
def test_rendering(make_env, mode):
    env = make_env(render_mode=mode, objective="latency")
    env.reset(seed=0)
    env.step(action(0.8))
    shown = env.render()
    if mode == "ansi":
        codes = env.snapshot().history[0].block.codes
        assert f"{codes}/12" in shown
        assert "outer.code" in shown
    else:
        assert shown.shape == (600, 1000, 3)
        assert shown.std() > 0


@pytest.mark.parametrize(("min_keep", "round_to"), [(5, 1), (1, 4)])
def test_codes_obey_the_rules(make_env, min_keep, round_to):
    env = make_env(min_keep=min_keep, round_to=round_to)
    env.reset(seed=0)
    for space in env.visited:
        *_, info = env.step(action(1))
        assert info["codes"] >= min_keep
        assert info["codes"] % round_to == 0 or info["codes"] == space.channels
        assert info["mask_changed"] is True


@pytest.mark.float
def test_the_seed_replays_a_step(make_env):
    env = make_env(target={"macs": 0.5})
    env.reset(seed=4)
    *_, info = env.step(action(0, 0.5))
    expected = logits(env)
    env.reset(seed=9)
    executed = action(info["sparsity"], 0.5)
    *_, again = env.replay(executed, info["seed"])
    assert torch.equal(logits(env), expected)
    assert again["codes"] == info["codes"]


# Targets


@pytest.mark.parametrize("wanted", [{"macs": 0.5}, {"params": 0.45, "macs": 0.6}])
def test_every_episode_meets_a_target(make_env, wanted):
    for seed in range(3):
        env = make_env(target=wanted)
        env.reset(seed=seed)
        for chosen in actions(env, seed):
            chosen["duration"][:] = 0
            *_, info = env.step(chosen)
        assert info["target_met"]
        full = env.baseline.costs.of()
        for name, share in wanted.items():
            assert info[name] <= share * full.of(name)


def test_a_clipped_action_is_reported(make_env):
    env = make_env(target={"macs": 0.5})
    env.reset(seed=0)
    changed = []
    for _ in env.visited:
        *_, info = env.step(action(0))
        changed.append(info["mask_changed"])
    assert any(changed)
    assert info["target_met"]
    assert 0 < env.ratio_for_target() < 1


def test_a_target_out_of_reach_is_refused(make_env):
    with pytest.raises(TargetError, match="the least within reach is"):
        make_env(target={"macs": 0.01})


# Bad values


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (action(1.1), "sparsity=1.1"),
        (action(-0.1), "sparsity=-0.1"),
        (action(float("nan")), "one finite number"),
        (action(0.5, 2), "duration=2.0 must be 0 to 1"),
        ({"mask": np.ones(12), "duration": np.zeros(1)}, "'sparsity' and 'duration'"),
    ],
)
def test_bad_actions_are_refused_by_name(make_env, bad, message):
    env = make_env()
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(bad)


def test_a_network_without_convolutions_to_visit_is_refused(make_tiny_env):
    with pytest.raises(PruneGymError, match="scope='all'"):
        make_tiny_env(action_mode="alf")
    assert len(make_tiny_env(action_mode="alf", scope="all").visited) == 1


@pytest.mark.parametrize("form", ["multi_discrete", "masked_multi_discrete", "keep_ratio"])
def test_wrappers_that_choose_filters_name_the_remedy(make_env, form):
    with pytest.raises(ValueError, match="FlatBoxAction"):
        adapt(make_env(), form)
    with pytest.raises(ValueError, match="FlatBoxAction"):
        ActionMaskObservation(make_env())


def test_flat_and_native_actions_agree(make_env):
    env, native = FlatBoxAction(make_env()), make_env()
    env.reset(seed=0)
    native.reset(seed=0)
    wrapped = env.step(np.array([0.2, -1], np.float32))
    assert data_equivalence(wrapped, native.step(action(0.6)), exact=True)


# Composition


@pytest.mark.float
def test_a_pruned_network_is_compressed_further(make_env):
    filters = make_env(action_mode="filters")
    filters.reset(seed=0)
    for chosen in actions(filters, 3):
        filters.step(chosen)
    env = make_env(filters.network)
    env.reset(seed=0)
    assert torch.allclose(logits(env), logits(filters))
    for _ in env.visited:
        *_, info = env.step(action(0.6))
    assert info["macs"] < filters.snapshot().costs.macs


@pytest.mark.float
def test_codes_are_pruned_like_filters(make_env):
    alf = make_env(recovery="none")
    alf.reset(seed=0)
    for space in alf.visited:
        alf.step(action(0.4 if space.name == "inner.code" else 0.7))
    env = make_env(alf.network, action_mode="filters", scope="all", recovery="none")
    assert {"outer.code"} <= {space.name for space in env.visited}
    env.reset(seed=0)
    masks = {}
    for space in env.visited:
        bits = np.arange(env.width) % 2 == 0
        masks[space.name] = bits[: space.channels]
        *_, info = env.step({"mask": bits.astype(np.int8), "duration": np.zeros(1)})
    silenced = masked(alf.network.module, alf.network.spaces, masks)
    assert torch.allclose(logits(env), logits(env, silenced), atol=1e-4)
    assert info["params"] == sum(p.numel() for p in env.network.module.parameters())


def test_compressed_convolutions_are_not_visited_again(make_env):
    alf = make_env()
    alf.reset(seed=0)
    for sparsity in (0.8, 0, 0):
        alf.step(action(sparsity))
    again = make_env(alf.network)
    assert [space.name for space in again.visited] == ["outer.code", "down.code"]
