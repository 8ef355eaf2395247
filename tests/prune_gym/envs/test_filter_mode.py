"""The filter mode: a finished network is accepted as a whole episode."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence

from prune_gym.envs import FinishedNetwork, Spent
from prune_gym.pruning import cut_spaces, dense

MASKS = {
    "one": np.array([1, 0, 1, 1, 0, 1], bool),
    "two": np.array([0, 1, 1, 0, 1], bool),
}
COSTS = ("params", "macs", "cycles", "latency_ms", "energy_uj", "weight_bytes")
NOTHING = Spent(batches=0, macs=0)


@pytest.fixture
def make_env(make_tiny_env):
    """A function that makes environments on the slow path, without repair."""
    return lambda **arguments: make_tiny_env(recovery="none", fast=False, **arguments)


def pruned(env, masks):
    """The unpruned network without some filters."""
    network = env.baseline.network
    module = dense(network.module, network.spaces, masks)
    return FinishedNetwork(module, cut_spaces(network.spaces, masks), masks)


def stepped(env, masks):
    """Reward and info of each step with these masks and without fine-tuning."""
    env.reset(seed=0)
    results = []
    for space in env.visited:
        mask = np.zeros(env.width, np.int8)
        mask[: space.channels] = masks[space.name]
        results.append(env.step({"mask": mask, "duration": np.zeros(1, np.float32)}))
    return [(reward, info) for _, reward, _, _, info in results]


@pytest.mark.parametrize("order", ["forward", "backward"])
def test_an_accepted_network_equals_its_steps(make_env, order):
    stepping, accepting = make_env(order=order), make_env(order=order)
    steps = stepped(stepping, MASKS)
    accepting.reset(seed=0)
    infos = accepting.accept(pruned(accepting, MASKS), NOTHING)
    for (_, expected), info in zip(steps, infos, strict=True):
        assert [info[name] for name in COSTS] == [expected[name] for name in COSTS]
        assert np.array_equal(info["mask"], expected["mask"])
        assert info["position"] == expected["position"]
    reward, last = steps[-1]
    assert infos[-1]["reward"] == reward
    assert infos[-1]["rewards"] == last["rewards"]
    assert infos[-1]["accuracy"] == last["accuracy"] == accepting.snapshot().accuracy
    assert data_equivalence(accepting.kept, stepping.kept, exact=True)
    assert accepting.score() == stepping.score() == last["score"]
    assert accepting.network.spaces == stepping.network.spaces


def test_an_episode_is_charged_once(make_env):
    env = make_env()
    env.reset(seed=0)
    spent = Spent(batches=env.max_batches, macs=1000)
    first, last = env.accept(pruned(env, MASKS), spent)
    evaluation = last["macs"] * len(env.baseline.eval_labels)
    assert first["search_macs"] == 1000
    assert last["search_macs"] == env.search_macs_total == 1000 + evaluation
    assert [first["batches"], last["batches"]] == [env.max_batches, 0]
    assert [first["duration"], last["duration"]] == [1, 0]
    # All steps share the accuracy, so the logarithms of the savings add up.
    assert first["accuracy"] == last["accuracy"]
    total = sum(info["rewards"]["phi_prune"] for info in (first, last))
    assert total == pytest.approx(np.log(last["cost_ratio"]))


def test_spaces_without_a_mask_keep_all_filters(make_env):
    env = make_env()
    env.reset(seed=0)
    masks = {"two": MASKS["two"]}
    infos = env.accept(pruned(env, masks), NOTHING)
    assert infos[0]["mask"].sum() == 6
    assert {name: len(kept) for name, kept in env.kept.items()} == {"one": 6, "two": 3}


def test_networks_that_do_not_fit_are_refused(make_env):
    env = make_env()
    env.reset(seed=0)
    good = pruned(env, MASKS)
    wrong = replace(good, masks=MASKS | {"two": np.ones(5, bool)})
    with pytest.raises(ValueError, match="space 'two' has 3 channels, but its masks keep 5"):
        env.accept(wrong, NOTHING)
    with pytest.raises(ValueError, match="space 'two' has None channels"):
        env.accept(replace(good, spaces=good.spaces[:1]), NOTHING)
    with pytest.raises(ValueError, match=r"mask of 'one' has shape \(5,\) but must have \(6,\)"):
        env.accept(replace(good, masks=MASKS | {"one": np.ones(5, bool)}), NOTHING)
    assert env.snapshot().position == 0
    assert env.search_macs_total == 0


def test_an_episode_that_has_begun_accepts_no_network(make_env):
    env = make_env()
    with pytest.raises(ResetNeeded):
        env.accept(pruned(env, MASKS), NOTHING)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    with pytest.raises(ResetNeeded, match="reset"):
        env.accept(pruned(env, MASKS), NOTHING)
    env.reset(seed=0)
    assert len(env.accept(pruned(env, MASKS), NOTHING)) == 2
    with pytest.raises(ResetNeeded, match="reset"):
        env.step(env.action_space.sample())
