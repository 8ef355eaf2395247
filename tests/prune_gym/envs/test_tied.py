"""Episodes over all spaces of a network whose trunk two convolutions make."""

import json

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import data_equivalence

from prune_gym.errors import WeightsError
from prune_gym.pruning import criteria
from prune_gym.pruning.obs import importances, systems_of
from prune_gym.pruning.saved import load_network
from prune_gym.runs import recording
from prune_gym.runs.recording import POLICIES
from prune_gym.surrogate.fit import fit_surrogate
from prune_gym.surrogate.records import Records
from prune_gym.wrappers import KeepRatioAction
from tests.conftest import actions


def half(env):
    """An action that keeps every second filter, without fine-tuning."""
    mask = (np.arange(env.width) % 2).astype(np.int8)
    return {"mask": mask, "duration": np.zeros(1, np.float32)}


def test_an_episode_visits_the_trunk_and_the_inner_spaces(make_tied_env):
    env = make_tied_env()
    assert [space.name for space in env.visited] == ["trunk", "mid", "last"]
    env.reset(seed=0)
    ended = False
    while not ended:
        *_, ended, _, _ = env.step(half(env))
    module = env.network.module
    assert (module.stem.out_channels, module.outer.out_channels) == (4, 4)
    assert (module.inner.in_channels, module.down.in_channels) == (4, 4)
    assert [space.name for space in make_tied_env(scope="inner").visited] == ["mid", "last"]


@pytest.mark.float
@pytest.mark.parametrize("fast", [True, False])
def test_a_refit_of_the_readers_of_the_trunk_brings_the_outputs_back(make_tied_env, fast):
    errors = {}
    for recovery in ("lsq", "bn", "none"):
        env = make_tied_env(recovery=recovery, fast=fast)
        env.reset(seed=0)
        env.step(half(env))
        images = env.baseline.repair_images[:]
        with torch.no_grad():
            wanted, found = env.baseline.module(images), env.network.module.eval()(images)
        errors[recovery] = float((wanted - found).square().mean())
    assert errors["lsq"] < errors["none"] / 2
    assert errors["bn"] != errors["none"]


@pytest.mark.float
@pytest.mark.parametrize("recovery", ["lsq", "bn", "none"])
def test_recorded_steps_are_replayed(make_tied_env, recovery):
    one, two = (make_tied_env(recovery=recovery) for _ in range(2))
    one.reset(seed=3)
    two.reset(seed=8)
    for action in actions(one, 4):
        step = one.step(action)
        executed = {**action, "mask": step[4]["mask"]}
        again = two.replay(executed, step[4]["seed"])
        step[4].pop("mask_changed")
        again[4].pop("mask_changed")
        assert data_equivalence(step, again, exact=True)


@pytest.mark.float
@pytest.mark.parametrize("criterion", criteria.CRITERIA)
def test_each_criterion_ranks_the_trunk(make_tied_env, criterion):
    env = KeepRatioAction(make_tied_env(recovery="none"), criterion, least=0, duration=0.0)
    observation, _ = env.reset(seed=0)
    module, space = env.unwrapped.baseline.module, env.unwrapped.visited[0]
    rows = torch.cat([layer.weight.detach().flatten(1) for layer in (module.stem, module.outer)], 1)
    values = {
        "l1": rows.abs().sum(1),
        "l2": rows.norm(dim=1),
        "fpgm": torch.cdist(rows, rows).sum(1),
        "bn": (module.norm0.weight + module.norm2.weight).abs().detach(),
        "taylor": criteria.taylor(
            module,
            space,
            env.unwrapped.baseline.repair_images,
            env.unwrapped.baseline.train_split.labels[:64],
        ),
        "obs": importances(systems_of(module, space, env.unwrapped.baseline.least_squares, {})),
    }[criterion]
    assert len(criteria.scores(criterion, observation, env)) == 8
    *_, info = env.step(np.zeros(1, np.float32))
    best = np.argsort(-np.asarray(values))[:4]
    assert np.flatnonzero(info["mask"]).tolist() == sorted(best.tolist())


@pytest.mark.float
def test_a_surrogate_of_all_spaces_has_their_costs(make_tied_env, tmp_path):
    pytest.importorskip("sklearn")
    env = make_tied_env()
    episodes = tuple(recording.play(env, POLICIES[n % len(POLICIES)], 0, n) for n in range(15))
    records = Records(recording.header(env, "tied", {}, 0), episodes)
    assert records.header["env_arguments"] == {"scope": "all"}
    fitted = fit_surrogate(records, env, n_estimators=20).surrogate
    path = fitted.save(tmp_path / "tied.safetensors")
    predicted = make_tied_env(surrogate=str(path), target={"latency": 0.6})
    real = make_tied_env(recovery="none")
    for each in (predicted, real):
        each.reset(seed=0)
    for action in actions(predicted, 2):
        observation, *_, info = predicted.step(action)
        seen, *_, wanted = real.step({**action, "mask": info["mask"]})
        assert 0 < info["accuracy"] < 1
        for cost in ("params", "macs", "cycles", "latency_ms", "energy_uj"):
            assert info[cost] == wanted[cost]
        assert np.array_equal(observation["layer"], seen["layer"])
    assert info["target_met"]
    with pytest.raises(WeightsError, match="spaces was"):
        make_tied_env(surrogate=str(path), scope="inner")


@pytest.mark.float
def test_a_cut_network_is_exported_and_loaded(make_tied_env, tmp_path):
    env = make_tied_env(target={"macs": 0.4})
    env.reset(seed=0)
    for action in actions(env, 1):
        *_, info = env.step(action)
    assert info["target_met"]
    report = env.export(tmp_path)
    assert report == json.loads((tmp_path / "report.json").read_text())
    assert all(difference < 1e-4 for difference in report["differences"].values())
    images = env.baseline.eval_images[:]
    with torch.no_grad():
        wanted = env.network.module.eval()(images)
        assert torch.equal(load_network(tmp_path)[0].module.eval()(images), wanted)
