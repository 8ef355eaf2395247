"""Wrapped environments pass both checkers and take the same actions as the native one."""

import copy
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env, data_equivalence
from torch.nn import functional

from agents.toy import ToyPruning
from prune_gym.data import IMAGENET
from prune_gym.pruning import ChannelSpace, criteria
from prune_gym.pruning.spaces import Place
from prune_gym.wrappers import (
    FORMS,
    ActionMaskObservation,
    FlatBoxAction,
    KeepRatioAction,
    MultiDiscreteAction,
    adapt,
)
from tests.tiny import shake

FULL = {"mask": np.ones(6, np.int8), "duration": np.zeros(1, np.float32)}


@pytest.mark.parametrize("form", [form for form in FORMS if form != "hybrid"])
@pytest.mark.parametrize("observation", ["features", "weights"])
def test_both_checkers(make_each_env, form, observation):
    sb3 = pytest.importorskip("stable_baselines3.common.env_checker")
    env = adapt(make_each_env(observation=observation), form)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Gymnasium's checker warns about any wrapper; ignore this warning.
        warnings.filterwarnings("ignore", message=".*is different from the unwrapped.*")
        check_env(env, skip_render_check=True)
        sb3.check_env(env)


@pytest.mark.parametrize("form", FORMS)
def test_the_spec_rebuilds_the_stack(form):
    gym.register("ToyPruning-v0", entry_point="agents.toy:ToyPruning")
    arguments = {
        "flat_box": {"threshold": 0.25},
        "multi_discrete": {"durations": 3},
        "masked_multi_discrete": {"durations": 3},
        "keep_ratio": {"criterion": "bn", "least": 0.2, "duration": 0.5},
    }
    try:
        env = adapt(gym.make("ToyPruning-v0", layers=2), form, **arguments.get(form, {}))
        assert env.spec is not None
        again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    finally:
        del gym.registry["ToyPruning-v0"]
    assert str(again) == str(env)
    assert again.action_space == env.action_space
    assert again.observation_space == env.observation_space
    for one, two in ((env, again),):
        one.action_space.seed(0)
        one.reset(seed=0)
        two.reset(seed=0)
        action = one.action_space.sample()
        assert data_equivalence(one.step(action), two.step(action), exact=True)


def test_flat_box_is_the_native_action(make_tiny_env):
    native, flat = make_tiny_env(), FlatBoxAction(make_tiny_env())
    native.reset(seed=1)
    flat.reset(seed=1)
    one = native.step({"mask": np.array([1, 0, 1, 1, 0, 0]), "duration": np.array([0.5])})
    two = flat.step(np.array([0.9, -0.5, 0.6, 1, 0, -0.1, 0], np.float32))
    assert data_equivalence(one, two, exact=True)


def test_multi_discrete_is_the_native_action(make_tiny_env):
    native, discrete = make_tiny_env(), MultiDiscreteAction(make_tiny_env(), durations=5)
    native.reset(seed=1)
    discrete.reset(seed=1)
    one = native.step({"mask": np.array([1, 0, 1, 1, 0, 0]), "duration": np.array([0.5])})
    two = discrete.step(np.array([1, 0, 1, 1, 0, 0, 2]))
    assert data_equivalence(one, two, exact=True)


def test_masks_have_an_entry_for_each_choice(make_tiny_env):
    env = adapt(make_tiny_env(), "masked_multi_discrete", durations=3)
    with pytest.raises(gym.error.ResetNeeded, match=r"call reset\(\) first"):
        env.action_masks()
    observation, _ = env.reset(seed=0)
    assert env.action_masks().tolist() == [True] * 15
    observation, *_ = env.step(np.array([1, 1, 1, 1, 1, 1, 0]))
    # The second layer has five filters, so only "remove" is allowed for the sixth.
    wanted = [True] * 10 + [True, False] + [True] * 3
    assert env.action_masks().tolist() == wanted
    assert observation["action_mask"].astype(bool).tolist() == wanted
    assert env.observation_space.contains(observation)


@pytest.mark.float
@pytest.mark.parametrize("criterion", ["l1", "l2", "fpgm", "taylor"])
@pytest.mark.parametrize("observation", ["features", "weights"])
def test_the_criterion_says_which_filters_stay(make_tiny_env, criterion, observation):
    env = KeepRatioAction(make_tiny_env(observation=observation), criterion, least=0)
    env.reset(seed=0)
    space = env.unwrapped.visited[0]
    rows = env.unwrapped.baseline.module.first.weight.detach().flatten(1)
    baseline = env.unwrapped.baseline
    values = {
        "l1": rows.abs().sum(1),
        "l2": rows.norm(dim=1),
        "fpgm": torch.cdist(rows, rows).sum(1),
        "taylor": criteria.taylor(
            baseline.module, space, baseline.repair_images, baseline.train_split.labels[:64]
        ),
    }[criterion]
    *_, info = env.step(np.array([0.0, -1.0], np.float32))
    assert np.flatnonzero(info["mask"]).tolist() == sorted(
        np.argsort(-np.asarray(values))[:3].tolist()
    )
    assert info["batches"] == 0


def test_bn_ranks_by_the_size_of_the_scale():
    env = KeepRatioAction(ToyPruning(), "bn", least=0)
    observation, _ = env.reset(seed=0)
    best = np.argsort(-np.abs(observation["bn_scale"]))[:4]
    *_, info = env.step(np.array([0.0, 0.0], np.float32))
    assert np.flatnonzero(info["mask"]).tolist() == sorted(best.tolist())


@pytest.mark.parametrize(("action", "kept"), [(-1.0, 1), (-0.6, 2), (0.0, 3), (0.5, 5), (1.0, 6)])
def test_the_share_says_how_many(make_tiny_env, action, kept):
    env = KeepRatioAction(make_tiny_env(), least=0.1, duration=0.0)
    env.reset(seed=0)
    *_, info = env.step(np.array([action], np.float32))
    assert info["mask"].sum() == kept
    assert info["batches"] == 0


def test_the_second_number_is_the_duration(make_tiny_env):
    native, ratio = make_tiny_env(), KeepRatioAction(make_tiny_env())
    native.reset(seed=1)
    ratio.reset(seed=1)
    one = native.step({**FULL, "duration": np.array([0.75])})
    two = ratio.step(np.array([1, 0.5], np.float32))
    assert one[4]["batches"] == 3
    assert data_equivalence(one, two, exact=True)


@pytest.mark.float
@pytest.mark.parametrize(
    ("position", "gates", "affine"),
    [(0, ("norm",), True), (0, ("first",), False), (1, ("second",), True)],
)
def test_taylor_is_the_squared_change_of_the_loss(tiny_trained, position, gates, affine):
    """Taylor scores equal central differences of the loss, after a norm and without one.

    A norm without weights has no gates, so they follow the producer. Frozen layers have gates.
    """
    network = copy.deepcopy(tiny_trained[0])
    if not affine:
        network.module.norm = torch.nn.BatchNorm2d(6, affine=False)
    network.module.first.requires_grad_(False)
    compare_with_differences(network, tiny_trained[1], position, gates)


@pytest.mark.float
def test_taylor_changes_all_producers_of_a_tied_space(residual_trained):
    network, dataset = copy.deepcopy(residual_trained[0]), residual_trained[1]
    compare_with_differences(network, dataset, 0, ("norm0", "norm2"))


def compare_with_differences(network, dataset, position, gates):
    """Taylor scores equal central differences of the loss if the gated layers change."""
    module, space = network.module.double().eval(), network.spaces[position]
    images = IMAGENET(dataset.train.images[:64]).double()
    labels = dataset.train.labels[:64]
    found = criteria.taylor(module, space, images, labels)
    modules, small = dict(module.named_modules()), 1e-4

    @torch.no_grad()
    def loss(channel, factor):
        parameters = [p for name in gates for p in (modules[name].weight, modules[name].bias)]
        before = [parameter.clone() for parameter in parameters]
        for parameter in parameters:
            parameter[channel] *= factor
        value = functional.cross_entropy(module(images), labels).item()
        for parameter, old in zip(parameters, before, strict=True):
            parameter.copy_(old)
        return value

    wanted = [
        ((loss(channel, 1 + small) - loss(channel, 1 - small)) / (2 * small)) ** 2
        for channel in range(space.channels)
    ]
    assert all(parameter.grad is None for parameter in module.parameters())
    assert found == pytest.approx(wanted, rel=1e-4, abs=1e-8)
    assert sum(value > 0 for value in wanted) >= 3


def test_taylor_gates_the_slots_of_a_space():
    """Of a layer's outputs, only those of the space have gates; a channel may have several."""

    class Concat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.nn.Conv2d(3, 4, 1), torch.nn.ConvTranspose2d(3, 6, 1)
            self.head = torch.nn.Linear(10, 4)

        def forward(self, x):
            x = torch.cat([self.a(x), self.b(x)], 1)
            return self.head(x.mean((2, 3)))

    module = shake(Concat().double())
    places = (
        Place("b", "out", np.array([[1, 4], [0, 3], [2, 5]])),
        Place("head", "in", np.array([[5, 8], [4, 7], [6, 9]])),
    )
    space = ChannelSpace("b", 3, ("b",), ("head",), places=places)
    images = torch.randn(16, 3, 4, 4, dtype=torch.float64)
    labels = torch.arange(16) % 4
    found = criteria.taylor(module, space, images, labels)

    def loss(slots, factor):
        changed = copy.deepcopy(module)
        with torch.no_grad():
            changed.b.weight[:, slots] *= factor
            changed.b.bias[slots] *= factor
            return functional.cross_entropy(changed(images), labels).item()

    wanted = [((loss(s, 1.0001) - loss(s, 0.9999)) / 2e-4) ** 2 for s in ([1, 4], [0, 3], [2, 5])]
    assert found == pytest.approx(wanted, rel=1e-4)


def test_taylor_reads_the_present_network_and_is_paid_for(make_tiny_env):
    env = make_tiny_env()
    observation, _ = env.reset(seed=0)
    before = criteria.scores("taylor", observation, env)
    assert (before == criteria.scores("taylor", observation, env)).all()
    spent = 2 * 3 * 64 * env.baseline.geometry.macs()
    assert env.search_macs_total == spent
    cut = {"mask": np.array([1, 0, 1, 0, 1, 1]), "duration": np.array([0.5])}
    observation, *_, info = env.step(cut)
    after = criteria.scores("taylor", observation, env)
    assert after.shape == (5,)
    assert env.search_macs_total == spent + info["search_macs"] + 3 * 64 * info["macs"]


def test_bad_arguments(make_tiny_env):
    with pytest.raises(ValueError, match="threshold=1"):
        FlatBoxAction(make_tiny_env(), threshold=1)
    with pytest.raises(ValueError, match="durations=1"):
        MultiDiscreteAction(make_tiny_env(), durations=1)
    with pytest.raises(ValueError, match="wraps the Dict"):
        FlatBoxAction(gym.make("CartPole-v1"))
    with pytest.raises(ValueError, match="not the action space Dict"):
        ActionMaskObservation(make_tiny_env())
    with pytest.raises(ValueError, match="Did you mean 'flat_box'"):
        adapt(make_tiny_env(), "flatbox")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"least": 1}, "least=1"),
        ({"duration": 2}, "duration=2"),
        ({"criterion": "l3"}, "Unknown criterion 'l3'"),
    ],
)
def test_bad_keep_ratios(make_tiny_env, arguments, word):
    with pytest.raises(ValueError, match=word):
        KeepRatioAction(make_tiny_env(), **arguments)


def test_what_a_criterion_needs(make_tiny_env):
    with pytest.raises(ValueError, match="observation='features'"):
        KeepRatioAction(make_tiny_env(observation="weights"), "bn")
    with pytest.raises(ValueError, match="ToyPruning does not have"):
        KeepRatioAction(ToyPruning(), "taylor")
    env = KeepRatioAction(make_tiny_env(), "bn", least=0)
    env.reset(seed=0)
    env.step(np.array([0.0, -1.0], np.float32))
    with pytest.raises(ValueError, match="needs a batch norm"):
        env.step(np.array([0.0, -1.0], np.float32))
    with pytest.raises(ValueError, match="not within"):
        env.step(np.array([1.5, -1.0], np.float32))


@pytest.mark.parametrize("observation", ["features", "weights"])
def test_a_computed_criterion_needs_no_entry(make_tiny_env, monkeypatch, observation):
    monkeypatch.setattr(criteria, "CRITERIA", (*criteria.CRITERIA, "mine"))
    criteria.check("mine", make_tiny_env(observation=observation))
