"""The surrogate environment has the interface, rules and exact costs of the real one."""

import pickle
import warnings

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence

from agents.base import Budget, Callback
from agents.l2pf import L2PF
from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.surrogate.features import Features
from prune_gym.surrogate.predictor import Surrogate, cache_folder, file_name
from prune_gym.surrogate.records import conditions
from prune_gym.wrappers import FlatBoxAction
from tests.prune_gym.surrogate.conftest import TINY, all_zero, random_actions

EXACT = ("params", "macs", "cycles", "latency_ms", "energy_uj", "weight_bytes", "position")
RULES = [
    {},
    {"min_keep": 3, "round_to": 2},
    {"order": "backward"},
    {"target": {"macs": 0.5}},
]
EXACT += ("peak_activation_bytes", "params_ratio", "macs_ratio", "cost_ratio", "batches")


def test_gymnasium_checker(make_surrogate):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(make_surrogate(), skip_render_check=True)


@pytest.mark.float
@pytest.mark.parametrize("arguments", RULES)
def test_costs_masks_and_rules_equal_the_real_ones(
    make_tiny_env, tiny_trained, tiny_fitted, tmp_path, arguments
):
    real = make_tiny_env(**arguments)
    path = _surrogate_of(real, tiny_fitted, tmp_path)
    fitted = PruningEnv(*tiny_trained, surrogate=str(path), **TINY, **arguments)
    both = real, fitted
    assert real.action_space == fitted.action_space
    assert real.observation_space == fitted.observation_space
    for seed in range(4):
        started = [env.reset(seed=seed)[1] for env in both]
        _same(*started)
        for action in [all_zero(real), *random_actions(real, seed, 1)]:
            (seen, *_, info), (guessed, reward, terminated, truncated, other) = (
                env.step(action) for env in both
            )
            _same(info, other)
            assert np.array_equal(info["mask"], other["mask"])
            assert info["mask_changed"] == other["mask_changed"]
            assert set(info) - {"seed"} | {"surrogate"} == set(other)
            assert other["surrogate"] is True
            assert truncated is False
            np.testing.assert_allclose(guessed["layer"], seen["layer"], atol=1e-6)
            assert np.array_equal(guessed["action_mask"], seen["action_mask"])
            parts = other["rewards"]
            weight = fitted.reward_function.duration_weight
            assert reward == pytest.approx(parts["prune"] + weight * parts["duration"])
            assert parts["psi"] == fitted.reward_function.psi(other["accuracy"])
        assert terminated
        for name, kept in real.kept.items():
            assert np.array_equal(kept, fitted.kept[name])
        expected = fitted.reward_function.score(other["accuracy"], other["cost_ratio"])
        assert fitted.score() == other["score"] == expected


def test_target_rewards_add_up_to_the_final_accuracy_term(
    make_tiny_env, tiny_trained, tiny_fitted, tmp_path
):
    arguments = {"target": {"macs": 0.6}, "reward": "target", "duration_weight": 0.0}
    real = make_tiny_env(**arguments)
    path = _surrogate_of(real, tiny_fitted, tmp_path)
    fitted = PruningEnv(*tiny_trained, surrogate=str(path), **TINY, **arguments)
    fitted.reset(seed=0)
    total = 0.0
    for action in random_actions(real, 0, 1):
        _, reward, _, _, info = fitted.step(action)
        total += reward
    reward = real.reward_function
    assert total == pytest.approx(_potential(reward, info["accuracy"], np.log(1 / 0.6)))


def _potential(reward, accuracy, progress):
    psi = reward.psi(accuracy)
    return psi * progress if psi >= 0 else psi * (1 + progress)


def _surrogate_of(real, fitted, folder):
    """A surrogate for the spaces and rules of a real environment; its trees do not matter."""
    facts = fitted.surrogate.facts | {
        "conditions": conditions(real.config, real.baseline, real.visited),
        "features": list(Features(real.baseline, real.visited).names),
    }
    return Surrogate(fitted.surrogate.trees, facts).save(folder / "own.safetensors")


def _same(info, other):
    for name in EXACT:
        assert info.get(name) == other.get(name), name


def test_an_episode_starts_at_the_measured_accuracy(make_surrogate):
    env = make_surrogate()
    _, info = env.reset(seed=0)
    assert info["accuracy"] == env.baseline.accuracy
    assert info["search_macs"] == env.search_macs_total == 0


def test_the_seed_does_not_change_the_results(make_surrogate):
    first, second = make_surrogate(), make_surrogate()
    assert data_equivalence(first.reset(seed=1), second.reset(seed=2), exact=True)
    for action in random_actions(first, 0, 2):
        assert data_equivalence(first.step(action), second.step(action), exact=True)


@pytest.mark.float
def test_trials_equal_steps_and_leave_the_state_alone(make_surrogate):
    env = make_surrogate()
    env.reset(seed=0)
    tried = random_actions(env, 1, 3)
    before = env.snapshot()
    results = env.try_actions(tried)
    assert env.snapshot() == before
    for action, (reward, info) in zip(tried, results, strict=True):
        observation, stepped, _, _, step_info = env.step(action)
        assert stepped == reward
        assert data_equivalence(info, step_info, exact=True)
        after = env.snapshot()
        env.restore(before)
        assert data_equivalence(env.restore(after)[0], observation, exact=True)
        env.restore(before)
    env.step(tried[0])
    assert env.kept["two"].size == 5


def test_observations_are_copies(make_surrogate):
    env = make_surrogate()
    observation, info = env.reset(seed=0)
    kept = {name: values.copy() for name, values in observation.items()}
    for values in observation.values():
        values[:] = 0
    info["action_mask"][:] = 0
    again, _ = env.reset(seed=0)
    assert data_equivalence(again, kept, exact=True)


def test_without_a_network_the_error_names_the_real_environment(make_surrogate, tmp_path):
    env = make_surrogate()
    env.reset(seed=0)
    with pytest.raises(PruneGymError, match="warm-start"):
        env.network  # noqa: B018
    with pytest.raises(PruneGymError, match="warm-start"):
        env.export(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(PruneGymError, match="render the real"):
        make_surrogate(render_mode="ansi")


def test_steps_need_a_reset_and_legal_actions(make_surrogate):
    env = make_surrogate()
    with pytest.raises(ResetNeeded):
        env.step(all_zero(env))
    env.reset(seed=0)
    with pytest.raises(ValueError, match="shape"):
        env.step({"mask": np.ones(2, np.int8), "duration": np.zeros(1)})
    for _ in env.visited:
        env.step(all_zero(env))
    with pytest.raises(ResetNeeded):
        env.step(all_zero(env))


def test_a_snapshot_of_the_real_environment_is_refused(make_surrogate, make_tiny_env):
    real, env = make_tiny_env(), make_surrogate()
    real.reset(seed=0)
    real.step(random_actions(real, 0, 1)[0])
    env.reset(seed=0)
    with pytest.raises(ValueError, match="another network"):
        env.restore(real.snapshot())


@pytest.mark.float
def test_copies_continue_alike(make_surrogate):
    env = make_surrogate()
    env.reset(seed=0)
    actions = random_actions(env, 0, 2)
    env.step(actions[0])
    copy = pickle.loads(pickle.dumps(env))
    assert data_equivalence(env.step(actions[1]), copy.step(actions[1]), exact=True)


def test_flat_actions(make_surrogate):
    env = FlatBoxAction(make_surrogate())
    env.reset(seed=0)
    _, reward, *_ = env.step(env.action_space.sample())
    assert np.isfinite(reward)


def test_weights_observations(make_surrogate, make_tiny_env):
    env, real = make_surrogate(observation="weights"), make_tiny_env(observation="weights")
    observation, _ = env.reset(seed=0)
    assert data_equivalence(observation, real.reset(seed=0)[0], exact=True)


@pytest.mark.float
def test_l2pf_learns_on_it(make_surrogate):
    env = make_surrogate()
    episodes, trials = [], []

    class Count(Callback):
        def on_trial(self, reward, info):
            trials.append(info["surrogate"])

        def on_episode(self, number, env, infos):
            episodes.append(infos)

    before, after = [], []
    for seed in range(4):
        # Keeps filters with high probability, for all norms; two episodes can change this.
        untrained, agent = (L2PF(env, seed, initial_keep=0.9, norm_prior=1.0) for _ in range(2))
        agent.learn(Budget(episodes=2), Count())
        before.append(greedy_score(env, untrained))
        after.append(greedy_score(env, agent))
    assert (len(episodes), len(trials)) == (4 * 2, 4 * 2 * 2 * (3 * 4 + 1))
    # The most likely actions score higher: 0 before, 0.17 after (8 seeds, deviation 0.1).
    assert np.mean(after) > np.mean(before) + 0.02


def greedy_score(env, agent):
    observation, _ = env.reset(seed=0)
    for _ in env.visited:
        observation, *_ = env.step(agent.act(observation, deterministic=True))
    return env.score()


def test_a_missing_surrogate_names_the_two_commands(tiny_trained, monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path))
    network, dataset = tiny_trained
    with pytest.raises(WeightsError, match=r"prune-gym record .*eval_images=64.*fit-surrogate"):
        PruningEnv(network, dataset, surrogate=True, **TINY)


def test_a_surrogate_of_other_conditions_is_refused(make_surrogate):
    with pytest.raises(WeightsError, match=r"eval_images was 64, here it is 32"):
        make_surrogate(eval_images=32)


def test_a_surrogate_in_the_cache_folder_is_found(tiny_trained, tiny_fitted, monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path))
    tiny_fitted.surrogate.save(
        cache_folder() / file_name(tiny_fitted.surrogate.facts["conditions"])
    )
    env = PruningEnv(*tiny_trained, surrogate=True, **TINY)
    assert env.reset(seed=0)[1]["surrogate"] is True
