"""The shipped surrogate: its id finds it, its errors are small, and other settings reject it."""

import warnings
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import prune_gym
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.networks.pretrained import SHIPPED
from prune_gym.runs import Run, RunConfig
from prune_gym.surrogate import fit_files
from prune_gym.surrogate import predictor as model
from prune_gym.surrogate.records import conditions

NAME = "PruneResNet20-Surrogate-v0"


@pytest.fixture(scope="module")
def env():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = gym.make(NAME, threads=1)
        check_env(made.unwrapped, skip_render_check=True)
    return made


def test_it_is_listed_and_shipped(env):
    assert NAME in prune_gym.environment_ids()
    facts = env.unwrapped.evaluator.surrogate.facts
    assert (SHIPPED / model.file_name(facts["conditions"])).is_file()


def test_it_ranks_held_out_episodes(env):
    metrics = env.unwrapped.evaluator.surrogate.facts["metrics"]
    assert metrics["held_out_episodes"]["tau"] >= 0.8
    assert (
        metrics["held_out_episodes"]["error"] < metrics["held_out_episodes"]["baseline_error"] / 3
    )
    assert "held_out_policies" in metrics


@pytest.mark.float
def test_accuracy_is_high_with_all_filters_and_low_with_one(env):
    accuracies = []
    for kept in (64, 1):
        _, info = env.reset(seed=0)
        mask = (np.arange(64) < kept).astype(np.int8)
        for _ in env.unwrapped.visited:
            *_, info = env.step({"mask": mask, "duration": np.zeros(1, np.float32)})
        accuracies.append(info["accuracy"])
    assert abs(accuracies[0] - env.unwrapped.baseline.accuracy) < 0.02
    assert accuracies[1] < 0.4


def test_it_visits_the_inner_spaces(env):
    assert env.unwrapped.config.scope == "inner"
    assert not any(space.tied for space in env.unwrapped.visited)


@pytest.mark.parametrize("scope", ["all", None])
def test_another_scope_is_refused_and_the_fitted_one_named(monkeypatch, tmp_path, scope):
    monkeypatch.setattr(model, "cache_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=r"record PruneResNet20-v0 .*scope='inner', for which"):
        gym.make(NAME, threads=1, scope=scope)


def test_a_warm_start_meets_the_spaces_of_the_real_environment(monkeypatch, tmp_path):
    monkeypatch.setattr(model, "cache_folder", lambda: tmp_path)

    def run(**arguments):
        given = {"threads": 1, **arguments}
        out = str(tmp_path / "run")
        config = RunConfig(
            "PruneResNet20-v0", "l2pf", out, episodes=1, warm_start=1, env_arguments=given
        )
        return Run(config, quiet=True)

    _, surrogate, _ = run(scope="inner", target={"macs": 0.5})._make()
    assert (surrogate.unwrapped.config.scope, surrogate.unwrapped.config.reward) == (
        "inner",
        "target",
    )
    for arguments in ({}, {"scope": "all"}):
        with pytest.raises(WeightsError, match="Or use scope='inner'"):
            run(**arguments).start()
    assert not (tmp_path / "run").exists()


def test_its_records_name_no_scope_and_are_fitted_to_the_inner_spaces(monkeypatch):
    path = Path(__file__).parents[3] / "benchmarks/data/resnet20_shapes_steps.jsonl"
    fitted = []

    def stop(joined, env, seed):
        fitted.append((joined.header, conditions(env.config, env.baseline, env.visited)))
        raise PruneGymError("enough")

    monkeypatch.setattr(fit_files, "fit_surrogate", stop)
    with pytest.raises(PruneGymError, match="enough"):
        fit_files.fit_files([path])
    ((header, here),) = fitted
    assert "scope" not in header["env_arguments"]
    assert header["conditions"] == here


def test_other_settings_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(model, "cache_folder", lambda: tmp_path)
    with pytest.raises(WeightsError, match=r"prune-gym record PruneResNet20-v0 .*max_epochs=0.04"):
        gym.make(NAME, threads=1, max_epochs=0.04)
