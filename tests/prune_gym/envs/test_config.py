"""The environment's arguments: each is checked, and an error names it."""

import math

import pytest

from prune_gym.envs.config import ACTION_MODES, FAST, SCOPES, EnvConfig
from prune_gym.errors import PruneGymError, UnknownNameError
from tests.tiny import tiny_dataset, tiny_network


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"action_mode": "codes"}, "action_mode 'codes'. Known: alf, filters"),
        ({"order": "sideways"}, "order 'sideways'"),
        ({"scope": "outer"}, "scope 'outer'"),
        ({"observation": "feature"}, "observation 'feature'. Did you mean 'features'"),
        ({"recovery": "magic"}, "recovery 'magic'"),
        ({"objective": "speed"}, "objective 'speed'"),
        ({"reward": "targets"}, "reward 'targets'. Did you mean 'target'"),
        ({"tune": "half"}, "tune 'half'"),
        ({"fast": "folds"}, "fast path 'folds'. Did you mean 'fold'"),
        ({"fast": ["memo", "folds"]}, "fast path 'folds'"),
        ({"target": {"mac": 0.5}}, "target 'mac'. Did you mean 'macs'"),
    ],
)
def test_unknown_names_are_refused(argument, message):
    with pytest.raises(UnknownNameError, match=f"Unknown {message}"):
        EnvConfig(**argument)


@pytest.mark.parametrize("name", ["batch_size", "accelerator_batch", "min_keep", "round_to"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "4", None])
def test_counts_must_be_whole_numbers(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value!r} must be (a whole number|at least)"):
        EnvConfig(**{name: value})


@pytest.mark.parametrize("name", ["search_budget", "threads", "eval_images", "repair_images"])
@pytest.mark.parametrize("value", [0, -1, 2.0, True, "4"])
def test_optional_counts_must_be_whole_numbers(name, value):
    assert getattr(EnvConfig(**{name: None}), name) is None
    with pytest.raises(ValueError, match=f"^{name}={value!r} must be (a whole number|at least)"):
        EnvConfig(**{name: value})


def test_limits_of_counts():
    with pytest.raises(ValueError, match="batch_size=1 must be at least 2"):
        EnvConfig(batch_size=1)
    with pytest.raises(ValueError, match="threads=1025 must be at most 1024"):
        EnvConfig(threads=1025)
    assert EnvConfig(threads=1024).threads == 1024


@pytest.mark.parametrize("name", ["max_epochs", "learning_rate", "tolerance", "duration_weight"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan, "0.1", True, None])
def test_numbers_must_be_finite(name, value):
    with pytest.raises(ValueError, match=f"^{name}={value!r} must be a (finite )?number"):
        EnvConfig(**{name: value})


def test_limits_of_numbers():
    for name in ("max_epochs", "learning_rate", "tolerance"):
        with pytest.raises(ValueError, match=f"^{name}=0 must be a finite number above 0"):
            EnvConfig(**{name: 0})
    assert EnvConfig(duration_weight=0).duration_weight == 0
    with pytest.raises(ValueError, match=r"tolerance=1.1 must be above 0 and at most 1"):
        EnvConfig(tolerance=1.1)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"macs": 0}, "macs=0 must be a share"),
        ({"latency": 1.5}, "latency=1.5 must be a share"),
        ({"latency": math.nan}, "latency=nan must be a share"),
        ({"accuracy": -0.1}, "accuracy=-0.1 must be a drop"),
        ({"accuracy": 1.1}, "accuracy=1.1 must be a drop"),
        ({"macs": "half"}, "macs='half' must be a number"),
        ({"macs": True}, "macs=True must be a number"),
        ("macs=0.5", "must map names to limits"),
        (["macs"], "must map names to limits"),
    ],
)
def test_bad_targets_are_refused(target, message):
    with pytest.raises(ValueError, match=message):
        EnvConfig(target=target)


def test_wanted_figures_and_wanted_costs():
    config = EnvConfig(target={"macs": 1, "accuracy": 0})
    assert config.wanted == {"macs": 1.0, "accuracy": 0.0}
    assert config.wanted_costs == {"macs": 1.0}
    assert EnvConfig().wanted == EnvConfig(target={}).wanted_costs == {}


@pytest.mark.parametrize("target", [None, {}, {"accuracy": 0.1}])
def test_the_target_reward_needs_a_cost(target):
    with pytest.raises(ValueError, match="reward='target' needs a target with a cost"):
        EnvConfig(reward="target", target=target)


@pytest.mark.parametrize("surrogate", [True, "file.safetensors"])
def test_a_surrogate_predicts_filters_only(surrogate):
    assert EnvConfig(surrogate=surrogate).predicted
    with pytest.raises(PruneGymError, match="action_mode='alf': a surrogate only predicts"):
        EnvConfig(surrogate=surrogate, action_mode="alf")


def test_fast_paths():
    assert EnvConfig().fast_paths == EnvConfig(fast=True).fast_paths == set(FAST)
    assert EnvConfig(fast=False).fast_paths == EnvConfig(fast=[]).fast_paths == set()
    assert EnvConfig(fast="memo").fast_paths == {"memo"}
    assert EnvConfig(fast=("memo", "fold")).fast_paths == {"memo", "fold"}


def test_mini_batches_at_duration_1():
    config = EnvConfig(max_epochs=0.5, batch_size=32)
    assert config.max_batches(256) == 4
    assert config.max_batches(1) == 1


def test_changed_lists_what_differs_from_the_defaults():
    assert EnvConfig().changed() == {}
    assert EnvConfig("resnet20", "shapes", order="forward").changed() == {}
    given = {"dataset": "cifar10", "target": {"macs": 0.5}, "threads": 2, "fast": ["memo"]}
    assert EnvConfig(**given).changed() == given
    # Networks and data sets have no name by which a record could find them.
    assert EnvConfig(tiny_network(), tiny_dataset(), min_keep=2).changed() == {"min_keep": 2}


def test_the_default_scope_depends_on_the_action_mode():
    assert EnvConfig().scope == "all"
    assert EnvConfig(action_mode="alf").scope == "inner"
    for mode in ACTION_MODES:
        for scope in SCOPES:
            assert EnvConfig(action_mode=mode, scope=scope).scope == scope


@pytest.mark.parametrize("mode", ACTION_MODES)
def test_the_default_reward_depends_on_the_target(mode):
    for target in (None, {}, {"accuracy": 0.1}):
        assert EnvConfig(target=target, action_mode=mode).reward == "step"
    for target in ({"macs": 0.5}, {"latency": 0.5, "accuracy": 0.1}):
        assert EnvConfig(target=target, action_mode=mode).reward == "target"
        assert EnvConfig(target=target, action_mode=mode, reward="step").reward == "step"


def test_changed_holds_defaults_against_the_other_arguments():
    assert EnvConfig(scope="all", reward="step").changed() == {}
    assert EnvConfig(scope="inner").changed() == {"scope": "inner"}
    mode = {"action_mode": "alf"}
    assert EnvConfig(**mode, scope="inner").changed() == mode
    assert EnvConfig(**mode, scope="all").changed() == mode | {"scope": "all"}
    target = {"target": {"macs": 0.5}}
    assert EnvConfig(**target, reward="target").changed() == target
    assert EnvConfig(**target, reward="step").changed() == target | {"reward": "step"}


def test_only_some_arguments_are_shared_by_the_baseline():
    assert EnvConfig().shared() == EnvConfig(target={"macs": 0.5}, order="backward").shared()
    for change in ({"objective": "macs"}, {"eval_images": 10}, {"accelerator_batch": 2}):
        assert EnvConfig(**change).shared() != EnvConfig().shared()


def test_configurations_are_frozen():
    with pytest.raises(AttributeError):
        EnvConfig().order = "backward"  # type: ignore[misc]


def test_environments_refuse_bad_arguments_by_name(make_tiny_env):
    with pytest.raises(TypeError, match="minkeep"):
        make_tiny_env(minkeep=2)
    with pytest.raises(ValueError, match="min_keep=0"):
        make_tiny_env(min_keep=0)
    with pytest.raises(ValueError, match="render_mode='human' is not one of"):
        make_tiny_env(render_mode="human")
    with pytest.raises(UnknownNameError, match="Did you mean 'eyeriss'"):
        make_tiny_env(accelerator="eyeris")
