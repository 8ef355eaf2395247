"""Sensitivities: divergences of networks cut in one space, measured once and counted each time."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

from prune_gym.envs import PruningEnv, sensitivity
from prune_gym.envs.observation import filter_rows
from prune_gym.envs.sensitivity import Sensitivities
from prune_gym.errors import PruneGymError
from prune_gym.pruning import dense
from prune_gym.pruning.repair import reestimate_batch_norm

SETTINGS = {"eval_images": 64, "repair_images": 64, "threads": 1, "scope": "all"}


@pytest.fixture
def make(residual_trained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(tmp_path))
    return lambda **more: PruningEnv(*residual_trained, **(SETTINGS | more))


@pytest.fixture
def count_measurements(monkeypatch):
    calls, measure = [], sensitivity._measure

    def counted(*arguments):
        calls.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr(sensitivity, "_measure", counted)
    return calls


def test_they_are_the_divergences_of_networks_cut_in_one_space(make):
    env = make()
    found, baseline = env.sensitivities(), env.baseline
    assert list(found.counts) == [space.name for space in env.visited] == ["trunk", "mid", "last"]
    space = env.visited[1]
    assert found.counts["mid"] == (2, 3, 6, 9, 12)
    norms = filter_rows(baseline.module, space).abs().sum(1)

    @torch.no_grad()
    def divergence(count):
        mask = np.zeros(12, bool)
        mask[norms.argsort(descending=True)[:count].numpy()] = True
        cut = dense(baseline.module, baseline.network.spaces, {"mid": mask})
        reestimate_batch_norm(cut, baseline.repair_images)
        wanted, reached = (net(baseline.repair_images[:]) for net in (baseline.module, cut))
        return float(
            functional.kl_div(
                reached.log_softmax(1), wanted.log_softmax(1), reduction="batchmean",
                log_target=True,
            )
        )  # fmt: skip

    for count in (2, 6, 9):
        wider = [each for each in found.counts["mid"] if count <= each < 12]
        # What a wider network loses, a narrower one loses too.
        assert found.of("mid", count) == pytest.approx(max(map(divergence, wider)), abs=1e-5)


def test_they_never_fall_with_fewer_filters_and_are_zero_for_all(make):
    found = make().sensitivities()
    for name, values in found.divergences.items():
        assert list(values) == sorted(values, reverse=True)
        assert values[-1] == 0
        assert found.of(name, found.counts[name][-1]) == 0
        every = [found.of(name, count) for count in range(1, found.counts[name][-1] + 1)]
        assert every == sorted(every, reverse=True)
        assert all(value >= 0 for value in every)


def test_they_are_measured_once_and_counted_each_time(make, count_measurements, tmp_path):
    env = make()
    first = env.sensitivities()
    spent = env.search_macs_total
    networks = [(name, n) for name, counts in first.counts.items() for n in counts[:-1]]
    cut = sum(env.costs_of({name: count}).macs for name, count in networks)
    macs = env.baseline.costs.of().macs + 2 * cut
    assert spent == 64 * macs
    assert env.sensitivities() == first
    assert env.search_macs_total == 2 * spent
    other = make()
    assert other.sensitivities() == first
    assert other.search_macs_total == spent
    assert len(count_measurements) == 1
    # Another network, or other images, have their own.
    make(repair_images=32).sensitivities()
    assert len(count_measurements) == 2


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"schema": 1, "counts": {}}'])
def test_a_damaged_file_is_measured_again(make, count_measurements, tmp_path, damage):
    first = make().sensitivities()
    (path,) = (tmp_path / "sensitivities").iterdir()
    whole = path.read_bytes()
    path.write_bytes(damage)
    assert make().sensitivities() == first
    assert len(count_measurements) == 2
    assert path.read_bytes() == whole


def test_measuring_changes_nothing(make):
    env = make()
    env.reset(seed=3)
    before = {name: value.clone() for name, value in env.baseline.module.state_dict().items()}
    random = torch.random.get_rng_state()
    observation = env._observe()
    env.sensitivities()
    assert torch.equal(random, torch.random.get_rng_state())
    assert not env.baseline.module.training
    for name, value in env.baseline.module.state_dict().items():
        assert torch.equal(value, before[name])
    for name, value in env._observe().items():
        assert np.array_equal(value, observation[name])


def test_without_filters_to_cut_they_are_refused(make):
    with pytest.raises(PruneGymError, match="action_mode='filters'"):
        make(action_mode="alf").sensitivities()


def test_shares_are_checked(make):
    env = make()
    for share in (0, 1, -1):
        with pytest.raises(ValueError, match="must be above 0 and below 1"):
            sensitivity.measured(env.baseline, env.visited, [share])


def test_between_measured_counts_the_line_is_straight_and_goes_on_below():
    found = Sensitivities({"a": (2, 4, 8)}, {"a": (3.0, 1.0, 0.0)})
    assert [found.of("a", count) for count in (1, 2, 3, 4, 6, 8)] == [4, 3, 2, 1, 0.5, 0]
    assert Sensitivities({"a": (8,)}, {"a": (0.0,)}).of("a", 3) == 0


def test_a_file_with_too_few_numbers_is_measured_again(make, count_measurements, tmp_path):
    first = make().sensitivities()
    (path,) = (tmp_path / "sensitivities").iterdir()
    value = json.loads(path.read_text())
    value["divergences"]["mid"] = value["divergences"]["mid"][:2]
    path.write_text(json.dumps(value))
    assert make().sensitivities() == first
    assert len(count_measurements) == 2


def test_a_folder_that_cannot_be_made_costs_no_measurement(make, tmp_path):
    (tmp_path / "sensitivities").write_text("a file")
    with pytest.warns(UserWarning, match="measured again next time"):
        found = make().sensitivities()
    assert found.of("mid", 12) == 0
