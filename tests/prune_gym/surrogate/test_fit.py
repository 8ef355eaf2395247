"""The fitted regressor, its compiled form, and its held-out metrics."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from prune_gym.errors import DataError, PruneGymError, WeightsError
from prune_gym.surrogate import predictor as model
from prune_gym.surrogate.features import STATISTICS, Features
from prune_gym.surrogate.fit import Rows, fit, fit_surrogate, held_out, measure, rows_of
from prune_gym.surrogate.trees import TreeEnsemble


@pytest.fixture(scope="module")
def features(tiny_records):
    _, env = tiny_records
    return Features(env.baseline, env.visited)


@pytest.mark.float
def test_the_kernel_equals_the_library(tiny_records, features):
    records, env = tiny_records
    rows = rows_of(records, env)
    regressor = fit(rows, seed=3, n_estimators=60, max_depth=6)
    trees = TreeEnsemble.from_library(regressor)
    rng = np.random.default_rng(0)
    unseen = rng.uniform(-1, 3, (200, len(features.names)))
    for inputs in (rows.inputs, unseen):
        own = [trees.predict(row) for row in inputs]
        np.testing.assert_allclose(own, regressor.predict(inputs), rtol=0, atol=1e-9)
    assert np.ptp(regressor.predict(rows.inputs)) > 0.05


def test_features_are_shares_of_the_unpruned_network(features, tiny_records):
    start = features.start()
    assert features.vector(start).shape == (len(features.names),)
    mask = np.array([1, 0, 1, 1, 0, 1], bool)
    behind = features.after(start, mask, batches=2)
    assert np.array_equal(start.shares, np.ones((2, len(STATISTICS))))
    row = dict(zip(features.names, features.vector(behind), strict=True))
    assert row["one.count"] == pytest.approx(4 / 6)
    assert (row["position"], row["batches"], row["last_batches"]) == (0.5, 2, 2)
    assert row["last_count"] == row["least_count"] == row["one.count"]
    assert row["log_count"] == pytest.approx(np.log(4 / 6))
    energy = tiny_records[1].baseline.module.first.weight.detach().square().sum((1, 2, 3)).numpy()
    assert row["one.energy"] == pytest.approx(energy[mask].sum() / energy.sum())


@pytest.mark.float
def test_rebuilt_agrees_with_least_squares(tiny_records):
    _, env = tiny_records
    baseline, space = env.baseline, env.visited[1]
    features, mask = Features(baseline, env.visited), np.array([1, 0, 1, 0, 1], bool)
    reads = []
    handle = baseline.module.head.register_forward_pre_hook(
        lambda _, inputs: reads.append(inputs[0])
    )
    with torch.no_grad():
        baseline.module(baseline.repair_images[:])
    handle.remove()
    # One row per image and pixel, one column per channel.
    inputs = reads[0].double().reshape(64, space.channels, -1).permute(0, 2, 1).flatten(0, 1)
    inputs = inputs.numpy()
    found, *_ = np.linalg.lstsq(inputs[:, mask], inputs[:, ~mask], rcond=None)
    rest = inputs[:, ~mask] - inputs[:, mask] @ found
    weight = baseline.module.head.weight.detach().double()
    columns = weight.reshape(len(weight), space.channels, -1).permute(0, 2, 1).numpy()
    error = np.square(rest @ columns.reshape(-1, space.channels)[:, ~mask].T).sum()
    whole = np.square(inputs @ columns.reshape(-1, space.channels).T).sum()
    kept = replace(features.start(), position=1)
    shares = features.after(kept, mask, 0).shares[1]
    assert shares[STATISTICS.index("rebuilt")] == pytest.approx(1 - error / whole, abs=1e-3)
    assert features.after(kept, ~np.zeros(5, bool), 0).shares[1] == pytest.approx([1, 1, 1])


@pytest.mark.float
def test_predictions_beat_the_mean(tiny_fitted):
    metrics = tiny_fitted.surrogate.facts["metrics"]
    whole = metrics["held_out_episodes"]
    assert whole["tau"] > 0.3
    assert whole["error"] < whole["baseline_error"]
    assert {f"held_out_policy_{n}" for n in ("l1", "l2pf", "mixed", "random", "uniform")} < set(
        metrics
    )


def test_held_out_rows_do_not_affect_their_predictions(tiny_records):
    records, env = tiny_records
    rows = rows_of(records, env)
    groups = rows.episode % 3
    out = groups == 2
    lied = replace(rows, accuracy=np.where(out, 0.0, rows.accuracy))
    honest, misled = (held_out(part, groups, n_estimators=20) for part in (rows, lied))
    assert np.array_equal(honest[out], misled[out])
    assert not np.array_equal(honest[~out], misled[~out])
    with pytest.raises(DataError, match="one group"):
        held_out(rows, np.zeros(len(rows.accuracy)))


def test_metrics_follow_their_definitions():
    rows = Rows(
        np.zeros((5, 1)),
        np.array([0.9, 0.1, 0.2, 0.3, 0.4]),
        np.zeros(5, int),
        np.array(["a"] * 5),
        np.array([0, 1, 1, 2, 2]),
        np.zeros(5, bool),
    )
    found = measure(rows, np.array([0.0, 0.2, 0.1, 0.4, 0.5]), np.ones(5, bool))
    # One of six pairs is reversed; the start does not count.
    assert found["steps"] == 4
    assert found["tau"] == pytest.approx((5 - 1) / 6)
    assert found["tau_same_space"] == pytest.approx((-1 + 1) / 2)
    assert found["error"] == pytest.approx(0.1)
    assert found["baseline_error"] == pytest.approx(0.1)


@pytest.mark.float
def test_the_same_records_give_the_same_file(tiny_records, tiny_file, tmp_path):
    again = fit_surrogate(*tiny_records, n_estimators=100).surrogate.save(
        tmp_path / "again.safetensors"
    )
    assert again.read_bytes() == tiny_file.read_bytes()
    assert again.with_suffix(".json").read_text() == tiny_file.with_suffix(".json").read_text()


def test_too_few_records_and_those_of_other_conditions_are_refused(tiny_records, make_tiny_env):
    records, env = tiny_records
    with pytest.raises(DataError, match="3 episodes are too few"):
        fit_surrogate(replace(records, episodes=records.episodes[:3]), env)
    with pytest.raises(DataError, match="eval_images was 64, here it is 32"):
        fit_surrogate(records, make_tiny_env(eval_images=32))


def test_without_scikit_learn_the_error_names_the_extra(tiny_records, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn.ensemble", None)
    with pytest.raises(PruneGymError, match=r"prune-gym\[surrogate\]"):
        fit_surrogate(*tiny_records)


def test_files_contain_the_trees_and_damaged_files_are_refused(
    tiny_fitted, tiny_file, features, tmp_path
):
    facts = json.loads(tiny_file.with_suffix(".json").read_text())
    here = facts["conditions"]

    def load(path):
        return model.load(path, here, features.names)

    row = features.vector(features.start())
    assert load(tiny_file).trees.predict(row) == tiny_fitted.surrogate.trees.predict(row)
    path = tmp_path / "bad.safetensors"
    with pytest.raises(WeightsError, match="missing or damaged"):
        load(path)
    path.with_suffix(".json").write_text(json.dumps(facts))
    path.write_bytes(tiny_file.read_bytes()[:-8])
    with pytest.raises(WeightsError, match="damaged"):
        load(path)
    arrays = load_file(tiny_file)
    arrays["value"] = arrays["value"] + 1
    save_file(arrays, path)
    with pytest.raises(WeightsError, match="checksum"):
        load(path)
    with pytest.raises(WeightsError, match="other features"):
        model.load(tiny_file, here, features.names[::-1])


def test_cyclic_trees_are_refused(tiny_fitted):
    trees = tiny_fitted.surrogate.trees
    inner = int(np.flatnonzero(trees.left != np.arange(len(trees.left)))[3])
    left = trees.left.copy()
    left[inner] = 0
    with pytest.raises(ValueError, match="does not follow it"):
        replace(trees, left=left)
    with pytest.raises(ValueError, match="finite"):
        replace(trees, value=np.full_like(trees.value, np.nan))
