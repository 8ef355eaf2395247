"""Every agent of this project learns, is reproducible, and continues after a load."""

import json

import numpy as np
import pytest

import agents
from agents.base import Budget, Callback
from agents.toy import ToyPruning
from prune_gym.errors import WeightsError
from tests.agents.helpers import FixedToy, mean_reward, saved, trained

L2PF_FAST = {"candidates": 8, "updates": 4, "learning_rate": 5e-3, "converged_entropy": 0.2}
AMC_FAST = {
    "hidden": 64,
    "least": 0.0,
    "duration": 0.3,
    "actor_learning_rate": 3e-4,
    "critic_learning_rate": 3e-3,
}
# Name, environment, episodes, options, and the reward that the mean of three seeds must exceed:
# above that of every untrained policy, and four standard errors below the mean of 12 seeds, which
# is 0.92, 1, 0.96 and 1.
LEARNERS = [
    ("l2pf", ToyPruning, 40, L2PF_FAST, 0.85),
    ("try_and_learn", FixedToy, 15, {"duration": 0.3, "updates": 4}, 0.95),
    ("amc", FixedToy, 160, AMC_FAST | {"warmup_episodes": 50}, 0.88),
    ("evolution", FixedToy, 60, {"duration": 0.3}, 0.96),
]
# Small enough that every part of them (updates, generations, memories) is reached in 5 episodes.
SMALL = {
    "l2pf": {"candidates": 3, "updates": 2, "hidden": 8},
    "l2pf by 2 layers": {"candidates": 3, "updates": 2, "hidden": 8, "granularity": 2},
    "try_and_learn": {"samples": 3, "updates": 2, "hidden": 8},
    "amc": {"warmup_episodes": 2, "batch_size": 4, "hidden": 8, "memory": 10},
    "evolution": {"population": 4},
    "greedy": {"ratios": [0.5, 1.0]},
    "random": {},
    "uniform": {},
    "l1": {},
}
DRAWING = sorted(set(SMALL) - {"greedy", "l1"})


class Episodes(Callback):
    def __init__(self):
        self.numbers, self.infos = [], []

    def on_episode(self, number, env, infos):
        self.numbers.append(number)
        self.infos.append(infos)


def make_small(label, env, seed=0):
    return agents.make(label.partition(" ")[0], env, seed=seed, **SMALL[label])


@pytest.mark.float
@pytest.mark.parametrize(
    ("name", "kind", "episodes", "options", "wanted"), LEARNERS, ids=[row[0] for row in LEARNERS]
)
def test_learns_and_beats_random_at_equal_budget(name, kind, episodes, options, wanted):
    before, after, drawn = [], [], []
    for seed in range(3):
        before.append(mean_reward(agents.make(name, kind(), seed=seed, **options), kind()))
        agent = trained(name, kind(), episodes, seed, **options)
        after.append(mean_reward(agent, kind()))
        played = Episodes()
        random = agents.make("random", kind(), seed=seed, duration=0.3)
        random.learn(Budget(steps=agent.steps), played)
        assert agent.steps <= random.steps < agent.steps + 3
        drawn += [info["reward"] for infos in played.infos for info in infos]
    assert np.mean(before) < wanted < np.mean(after)
    assert np.mean(after) > np.mean(drawn) + 0.3


@pytest.mark.float
@pytest.mark.parametrize("label", sorted(SMALL))
def test_same_seed_same_policy_to_the_bit(label, tmp_path):
    def learned(seed, folder):
        agent = make_small(label, ToyPruning(), seed)
        agent.learn(Budget(episodes=4))
        return saved(agent, tmp_path / folder)

    one, two = learned(0, "one"), learned(0, "two")
    assert one == two
    if label in DRAWING:
        assert learned(1, "other") != one


@pytest.mark.float
@pytest.mark.parametrize("label", sorted(SMALL))
def test_a_search_that_goes_on_ends_as_an_unbroken_one(label, tmp_path):
    unbroken = make_small(label, ToyPruning())
    unbroken.learn(Budget(episodes=7))

    env = ToyPruning()
    broken = make_small(label, env)
    broken.learn(Budget(episodes=3))
    broken.save(tmp_path)
    fresh = ToyPruning()
    fresh.reset(seed=99)
    fresh.np_random.bit_generator.state = env.np_random.bit_generator.state
    fresh.search_macs_total = env.search_macs_total
    resumed = make_small(label, fresh)
    resumed.load(tmp_path)

    played = Episodes()
    resumed.learn(Budget(episodes=7), played)
    assert played.numbers == [3, 4, 5, 6]
    assert saved(resumed, tmp_path / "resumed") == saved(unbroken, tmp_path / "unbroken")
    assert fresh.search_macs_total == unbroken.env.search_macs_total


@pytest.mark.float
@pytest.mark.parametrize("label", ["l2pf", "amc"])
def test_it_goes_on_in_the_real_environment_too(label, make_tiny_env, tmp_path):
    unbroken, env, fresh = (make_tiny_env(target={"macs": 0.6}) for _ in range(3))
    one = make_small(label, unbroken)
    one.learn(Budget(episodes=3))
    broken = make_small(label, env)
    broken.learn(Budget(episodes=1))
    broken.save(tmp_path)
    fresh.reset(seed=99)
    fresh.np_random.bit_generator.state = env.np_random.bit_generator.state
    fresh.search_macs_total = env.search_macs_total
    two = make_small(label, fresh)
    two.load(tmp_path)
    two.learn(Budget(episodes=3))
    assert saved(one, tmp_path / "one") == saved(two, tmp_path / "two")
    assert unbroken.search_macs_total == fresh.search_macs_total


@pytest.mark.parametrize("label", [*sorted(SMALL), "fpgm"])
def test_every_agent_reaches_a_target(label, make_tiny_env):
    env = make_tiny_env(target={"macs": 0.5})

    played = Episodes()
    options = SMALL.get(label, {})
    agents.make(label.partition(" ")[0], env, **options).learn(Budget(episodes=3), played)
    assert [infos[-1]["target_met"] for infos in played.infos] == [True] * 3


@pytest.mark.parametrize("label", sorted(SMALL))
def test_files_of_another_agent_or_damaged_ones_are_refused(label, tmp_path):
    agent = make_small(label, ToyPruning())
    with pytest.raises(WeightsError):
        agent.load(tmp_path)
    agent.learn(Budget(episodes=3))
    agent.save(tmp_path)
    facts = json.loads((tmp_path / "policy.json").read_text())
    assert facts["counters"] == {"episodes": 3, "steps": agent.steps}
    (tmp_path / "policy.json").write_text(json.dumps(facts | {"agent": "other"}))
    with pytest.raises(WeightsError, match="is of the agent 'other'"):
        agent.load(tmp_path)
    (tmp_path / "policy.json").write_text("{")
    with pytest.raises(WeightsError, match=r"policy\.json"):
        agent.load(tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        content = path.read_bytes()
        path.write_bytes(content[:50])
        with pytest.raises(WeightsError, match=path.name):
            agent.load(tmp_path)
        path.write_bytes(content)
