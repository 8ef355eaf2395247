"""All fast paths return the same results as the slow path."""

import copy
import gc
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch

import prune_gym
from prune_gym.data import load_dataset
from prune_gym.envs.config import FAST
from prune_gym.errors import PruneGymError
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.spaces import Place
from tests.conftest import actions
from tests.tiny import shake, tiny_dataset

RESNET = {"network": "resnet20", "eval_images": 50, "repair_images": 20, "threads": 1}


@pytest.fixture(scope="module")
def resnet():
    """A function that makes environments of a real network with few images."""

    def make(**arguments):
        return gym.make("PruneResNet20-v0", **(RESNET | arguments)).unwrapped

    return make


def play(env, seed, steps, durations=(0.0,)):
    """Accuracies, observations and weights during random actions."""
    env.reset(seed=seed)
    trail = []
    for index, action in enumerate(actions(env, seed, steps)):
        action["duration"][:] = durations[index % len(durations)]
        observation, reward, *_, info = env.step(action)
        trail.append((reward, info, observation, env.network.module))
    return trail


def same_bits(one, other):
    for (reward, info, seen, module), (reward2, info2, seen2, module2) in zip(
        one, other, strict=True
    ):
        assert reward == reward2
        assert info["accuracy"] == info2["accuracy"]
        assert all(np.array_equal(seen[key], seen2[key]) for key in seen)
        weights = module2.state_dict()
        assert all(torch.equal(weights[k], v) for k, v in module.state_dict().items())


def near(one, other, images):
    """Equal except for rounding: at most one image in fifty differs."""
    for (_, info, seen, module), (_, info2, seen2, module2) in zip(one, other, strict=True):
        assert abs(info["accuracy"] - info2["accuracy"]) <= max(1.01 / images, 0.02)
        assert info["search_macs"] == info2["search_macs"]
        for key in seen:
            np.testing.assert_allclose(seen[key], seen2[key], atol=2e-2)
        weights = module2.state_dict()
        for name, value in module.state_dict().items():
            assert torch.allclose(weights[name], value, rtol=1e-3, atol=1e-4), name


@pytest.mark.float
@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("scope", ["inner", "all"])
@pytest.mark.parametrize("recovery", ["lsq", "bn", "none"])
def test_prefix_and_memo_change_no_bit(make_each_env, order, scope, recovery):
    settings = {"order": order, "scope": scope, "recovery": recovery}
    plain = make_each_env(**settings, fast=["fold", "moments"])
    cached = make_each_env(**settings, fast=["fold", "moments", "prefix", "memo"])
    durations, steps = (0.0, 0.3), len(plain.visited)
    same_bits(play(plain, 3, steps, durations), play(cached, 3, steps, durations))


@pytest.mark.float
def test_values_that_need_too_much_memory_are_computed_again(make_tiny_env, monkeypatch):
    def kept(env):
        return [work.prepared("eval")[0] > 1 for work in env.evaluator._shared.values()]

    plain, small = make_tiny_env(), make_tiny_env()
    expected = play(plain, 3, 2)
    monkeypatch.setattr("prune_gym.envs.shared_work.MOST_VALUES", 0)
    same_bits(expected, play(small, 3, 2))
    # No call is before the first cut.
    assert (kept(plain), kept(small)) == ([False, True], [False, False])


@pytest.mark.float
def test_moments_that_need_too_much_memory_are_not_kept(make_tiny_env, monkeypatch):
    settings = {"scope": "all", "fast": ["moments"]}
    near(play(make_tiny_env(**settings), 3, 2), play(make_tiny_env(fast=False), 3, 2), 64)
    monkeypatch.setattr("prune_gym.envs.shared_work.LARGEST", 0)
    same_bits(play(make_tiny_env(**settings), 3, 2), play(make_tiny_env(fast=False), 3, 2))


@pytest.mark.float
def test_a_layer_with_more_inputs_than_rows_has_no_moments(make_tiny_env):
    """Its refit is the same with and without ``moments``, bit for bit."""
    few = {"repair_images": 16}  # the head has up to 81 inputs, and 16 rows
    slow, quick = make_tiny_env(**few, fast=False), make_tiny_env(**few, fast=["moments"])
    for env in (slow, quick):
        env.reset(seed=0)
        mask = np.array([1, 0, 1, 1, 0, 0], np.int8)
        env.step({"mask": np.ones(6, np.int8), "duration": np.zeros(1, np.float32)})
        env.step({"mask": mask, "duration": np.zeros(1, np.float32)})
    assert torch.equal(slow.network.module.head.weight, quick.network.module.head.weight)


@pytest.mark.float
@pytest.mark.parametrize("order", ["forward", "backward"])
@pytest.mark.parametrize("tune", ["all", "suffix"])
def test_prefix_and_memo_change_no_bit_on_resnet(resnet, order, tune):
    # Two mini-batches at duration 1.
    short = {"max_epochs": 32 / len(load_dataset("shapes").train), "batch_size": 16}
    settings = {"order": order, "scope": "all", "tune": tune, **short}
    plain = resnet(**settings, fast=["fold", "moments"])
    cached = resnet(**settings, fast=["fold", "moments", "prefix", "memo"])
    assert plain.max_batches == cached.max_batches == 2
    durations = (0.0, 0.0, 0.5, 0.0)
    same_bits(play(plain, 1, 6, durations), play(cached, 1, 6, durations))


@pytest.mark.float
@pytest.mark.parametrize("scope", ["inner", "all"])
@pytest.mark.parametrize("fast", [["fold"], ["moments"], ["prefix"], list(FAST)])
def test_each_fast_path_agrees_with_the_slow_path(make_each_env, scope, fast):
    slow, quick = make_each_env(scope=scope, fast=False), make_each_env(scope=scope, fast=fast)
    steps = len(slow.visited)
    near(play(slow, 5, steps), play(quick, 5, steps), 64)


@pytest.mark.float
@pytest.mark.parametrize("scope", ["inner", "all"])
def test_all_fast_paths_agree_with_the_slow_path_on_resnet(resnet, scope):
    slow, quick = resnet(scope=scope, fast=False), resnet(scope=scope, fast=True)
    near(play(slow, 2, 4), play(quick, 2, 4), 50)


@pytest.mark.float
def test_try_actions_equals_single_steps(make_each_env):
    for fast in (True, False):
        env = make_each_env(fast=fast)
        env.reset(seed=4)
        candidates = actions(env, 4, 5)
        candidates.append(copy.deepcopy(candidates[0]))
        before = env.snapshot()
        together = env.try_actions(candidates)
        alone = make_each_env(fast=fast)
        for action, (reward, info) in zip(candidates, together, strict=True):
            alone.reset(seed=4)
            _, expected, *_, expected_info = alone.step(action)
            assert reward == expected
            for name in ("accuracy", "search_macs", "cycles", "batches", "rewards"):
                assert info[name] == expected_info[name]
        # The trial did not change the environment, and a step returns the result of its trial.
        assert env.snapshot().random == before.random
        _, reward, *_ = env.step(candidates[2])
        assert reward == together[2][0]


@pytest.mark.float
def test_memo_distinguishes_durations_seeds_and_masks(make_tiny_env):
    env, reference = make_tiny_env(fast=["memo"]), make_tiny_env(fast=False)
    chosen = actions(env, 8, 3)
    for duration in (0.0, 1.0, 0.5):
        for action in chosen:
            action["duration"][:] = duration
            for seed in (0, 1, 0):
                env.reset(seed=seed)
                reference.reset(seed=seed)
                got, expected = env.step(action), reference.step(action)
                assert got[1] == expected[1]
                assert got[4]["mask_changed"] == expected[4]["mask_changed"]
                assert env.search_macs_total == reference.search_macs_total


def tensors_alive():
    """Number of tensors in this process."""
    gc.collect()
    return sum(issubclass(type(each), torch.Tensor) for each in gc.get_objects())


@pytest.mark.parametrize("recovery", ["lsq", "bn", "none"])
def test_caches_stay_small_and_the_baseline_does_not_change(make_tiny_env, recovery):
    env = make_tiny_env(recovery=recovery)
    before = {k: v.clone() for k, v in env.baseline.module.state_dict().items()}
    alive = [tensors_alive()]
    for episodes in (range(20), range(20, 60)):
        for seed in episodes:
            play(env, seed, 2, (0.0, 0.4))
        alive.append(tensors_alive())
    # The first 20 episodes fill the caches. Unbounded caches would triple with 40 more episodes.
    assert alive[2] - alive[1] < (alive[1] - alive[0]) / 2
    assert all(torch.equal(before[k], v) for k, v in env.baseline.module.state_dict().items())


@pytest.mark.float
def test_early_exit_does_not_change_rewards(make_tiny_env, monkeypatch):
    monkeypatch.setattr("prune_gym.envs.shared_work.EVALUATION_BATCH", 16)
    whole = make_tiny_env(tolerance=0.05, recovery="none", fast=["fold"])
    early = make_tiny_env(tolerance=0.05, recovery="none", fast=["fold", "early_exit"])
    left = 0
    for seed in range(20):
        for one, other in zip(play(whole, seed, 2), play(early, seed, 2), strict=True):
            assert one[0] == other[0]
            left += other[1]["evaluated_images"] < 64
            if other[1]["evaluated_images"] == 64:
                assert one[1]["accuracy"] == other[1]["accuracy"]
    assert left > 0


def test_suffix_does_not_train_the_layers_before_the_cut(make_tiny_env):
    env = make_tiny_env(tune="suffix", max_epochs=1.0)
    env.reset(seed=0)
    chosen = actions(env, 0, 2)
    for action in chosen:
        action["duration"][:] = 1.0
    env.step(chosen[0])
    before = {k: v.clone() for k, v in env.network.module.state_dict().items()}
    env.step(chosen[1])
    after = env.network.module.state_dict()
    # The producer of the second space is `second`; all activations before it are unchanged.
    for name in before:
        if name.split(".")[0] in ("first", "slope", "depthwise", "norm"):
            assert torch.equal(before[name], after[name]), name
    assert not torch.equal(before["head.weight"][:, :16], after["head.weight"][:, :16])


class Untraceable(torch.nn.Module):
    """A network whose forward pass contains a channel count, so that it cannot be traced."""

    def __init__(self):
        super().__init__()
        self.a = torch.nn.Conv2d(3, 4, 1)
        self.b = torch.nn.Linear(4, 4)

    def forward(self, x):
        x = self.a(x).relu()
        return self.b(x.mean((2, 3)).reshape(-1, self.a.out_channels))


def untraceable():
    spaces = (ChannelSpace("a", 4, ("a",), ("b",)),)
    return Network("tests:untraceable", shake(Untraceable()), spaces, (3, 8, 8), 4)


def test_an_untraceable_network_uses_the_slow_path_with_a_warning():
    settings = {"eval_images": 64, "repair_images": 64, "threads": 1}
    with pytest.warns(UserWarning, match="the fast paths are off: .* constants"):
        env = prune_gym.envs.PruningEnv(untraceable(), tiny_dataset(), **settings)
    slow = prune_gym.envs.PruningEnv(untraceable(), tiny_dataset(), fast=False, **settings)
    same_bits(play(env, 0, 1), play(slow, 0, 1))
    with pytest.raises(PruneGymError, match="constants"):
        prune_gym.envs.PruningEnv(untraceable(), tiny_dataset(), tune="suffix", **settings)


def test_copies_continue_alike(make_tiny_env):
    env = make_tiny_env()
    env.reset(seed=0)
    chosen = actions(env, 0, 2)
    env.step(chosen[0])
    for other in (pickle.loads(pickle.dumps(env)), copy.deepcopy(env)):
        before = env.snapshot()
        assert other.step(chosen[1])[1] == env.step(chosen[1])[1]
        env.restore(before)


def test_a_snapshot_of_another_scope_meets_no_stale_cache(resnet):
    """The shared work of a state is only valid up to the cut that was made in it."""
    everywhere, warm, cold = resnet(scope="all"), resnet(scope="inner"), resnet(scope="inner")
    everywhere.reset(seed=0)
    first, later = actions(everywhere, 0, 1)[0], actions(cold, 1, 1)[0]
    for env in (warm, cold):
        env.reset(seed=0)
    warm.restore(everywhere.snapshot())
    warm.try_actions([later])
    everywhere.step(first)  # cuts the stem, which lies before the inner spaces
    state = everywhere.snapshot()
    results = []
    for env in (warm, cold):
        env.restore(state)
        results.append(env.try_actions([later])[0])
    assert results[0][0] == results[1][0]
    assert results[0][1]["accuracy"] == results[1][1]["accuracy"]


class Concat(torch.nn.Module):
    """Two producers whose channels a convolution reads side by side."""

    def __init__(self):
        super().__init__()
        self.a, self.b = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(3, 6, 3, padding=1)
        self.both = torch.nn.Conv2d(10, 8, 3, padding=1, padding_mode="reflect")
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x):
        x = torch.cat([self.a(x).relu(), self.b(x).relu()], 1)
        return self.head(self.both(x).relu().mean((2, 3)))


class Twice(torch.nn.Module):
    """A convolution that is called on maps of two sizes."""

    def __init__(self):
        super().__init__()
        self.a, self.twice = torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 6, 3, padding=1)
        self.head = torch.nn.Linear(6, 4)

    def forward(self, x):
        x = self.a(x).relu()
        small = torch.nn.functional.avg_pool2d(x, 2)
        return self.head(self.twice(x).mean((2, 3)) + self.twice(small).mean((2, 3)))


@pytest.mark.float
def test_a_layer_that_is_called_twice_is_repaired():
    spaces = (ChannelSpace("a", 8, ("a",), ("twice",)), ChannelSpace("b", 6, ("twice",), ("head",)))
    network = Network("tests:twice", shake(Twice()), spaces, (3, 8, 8), 4)
    errors = {}
    for recovery in ("none", "lsq"):
        settings = {"eval_images": 64, "repair_images": 64, "threads": 1, "recovery": recovery}
        with pytest.warns(UserWarning, match="'twice' is called twice"):
            env = prune_gym.envs.PruningEnv(network, tiny_dataset(), **settings)
        play(env, 0, 1)
        images = env.baseline.eval_images[:]
        with torch.no_grad():
            wanted = network.module(images)
            errors[recovery] = float((env.network.module(images) - wanted).norm() / wanted.norm())
    assert errors["lsq"] < 0.5 * errors["none"]


@pytest.mark.float
@pytest.mark.parametrize("order", ["forward", "backward"])
def test_moments_of_a_concatenation(order):
    """A space is only a part of what its consumer reads."""
    spaces = (
        ChannelSpace(
            "a", 4, ("a",), ("both",), places=(Place("both", "in", [[0], [1], [2], [3]]),)
        ),
        ChannelSpace(
            "b", 6, ("b",), ("both",), places=(Place("both", "in", [[i] for i in range(4, 10)]),)
        ),
        ChannelSpace("both", 8, ("both",), ("head",)),
    )
    network = Network("tests:concat", shake(Concat()), spaces, (3, 8, 8), 4)
    settings = {"eval_images": 64, "repair_images": 64, "threads": 1, "order": order}
    slow, quick = (
        prune_gym.envs.PruningEnv(network, tiny_dataset(), **settings, fast=fast)
        for fast in (False, ["moments"])
    )
    near(play(slow, 5, 3), play(quick, 5, 3), 64)
