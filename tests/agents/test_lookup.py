"""Agents are found by name, by path and in other packages; the docs list their capabilities."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import agents
import agents.table
from agents.base import Agent, Budget
from agents.controls import L1
from agents.toy import ToyPruning
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.wrappers import FORMS

DOCS = Path(__file__).parents[2] / "docs" / "agents.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The documented example, as a module of another package, installed with an entry point."""
    (code,) = re.findall(
        r"```python\n# my_package/bandit.py\n(.*?)```", DOCS.read_text(), re.DOTALL
    )
    assert code.count("\n") <= 50
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "bandit.py").write_text(code)
    facts = tmp_path / "my_package-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        f"[{agents.GROUP}]\nbandit = my_package.bandit:RatioBandit\n"
        "broken = my_package.missing:Nothing\nl1 = my_package.bandit:RatioBandit\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_package.bandit:RatioBandit"
    for name in ("my_package", "my_package.bandit"):
        sys.modules.pop(name, None)


def earned(agent):
    env, total = ToyPruning(), 0.0
    for episode in range(40):
        observation, info = env.reset(seed=1000 + episode)
        ended = False
        while not ended:
            action = agent.act(observation, info, deterministic=True)
            observation, reward, ended, _, info = env.step(action)
            total += reward / 120
    return total


def test_the_documented_example_learns_and_is_saved(example, tmp_path):
    agent = agents.make(example, ToyPruning(), seed=0)
    before = earned(agent)
    agent.learn(Budget(episodes=60))
    after = earned(agent)
    control = agents.make("random", ToyPruning(), seed=0)
    assert after > max(before, earned(control)) + 0.1
    agent.save(tmp_path / "saved")
    again = agents.make(example, ToyPruning(), seed=1)
    again.load(tmp_path / "saved")
    assert earned(again) == after


def test_other_packages_add_agents_by_name(example):
    assert "bandit" in agents.names()
    assert "bandit" not in agents.names(own=True)
    assert agents.lookup("bandit") is agents.lookup(example)
    # This package's own names come first.
    assert agents.lookup("l1").__module__ == "agents.controls"
    with pytest.raises(PruneGymError, match=r"'broken' .* cannot be loaded"):
        agents.lookup("broken")
    found = {row["agent"]: row for row in agents.capabilities()}
    assert found["bandit"]["learns on"] == "hybrid"
    assert found["broken"]["learns on"] == "?"


def test_the_command_finds_agents_in_the_present_folder(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from agents.controls import L1\n\nclass Own(L1):\n    pass\n"
    )
    command = [Path(sys.executable).with_name("prune-gym"), "bench", "smoke", "--out", "out"]
    command += ["--agents", "mine:Own,mine:Other"]
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 2
    # The first one was found.
    assert "'mine:Other' cannot be loaded: module 'mine' has no attribute" in failed.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_no_agent_is_refused():
    with pytest.raises(ValueError, match="not a subclass"):
        agents.lookup("agents.base:Budget")
    for name in ("nobody", "../l1", ""):
        with pytest.raises(UnknownNameError, match=r"package\.module:Class"):
            agents.lookup(name)


@pytest.mark.parametrize("name", agents.names(own=True))
def test_every_agent_says_what_it_takes(name):
    kind = agents.lookup(name)
    assert issubclass(kind, Agent)
    assert kind.action_form in FORMS


def test_the_documented_table_is_the_codes():
    text = DOCS.read_text(encoding="utf-8")
    message = "docs/agents.md is out of date: run python -m agents.table docs/agents.md"
    assert agents.table.inserted(text) == text, message


@pytest.mark.parametrize("name", agents.names(own=True))
def test_recorded_hyperparameters_make_the_default_agent_again(name, make_tiny_env):
    if agents.lookup(name).extra == "sb3":
        pytest.importorskip("stable_baselines3")
        pytest.importorskip("sb3_contrib")
    mode = agents.lookup(name).action_modes[0]
    env = make_tiny_env(action_mode=mode, scope="all", target={"macs": 0.6})
    recorded = json.loads(json.dumps(agents.hyperparameters(name)))
    one, two = agents.make(name, env), agents.make(name, env, **recorded)
    # The controls' hyperparameters are arguments of their constructors and are not listed.
    assert bool(recorded) is hasattr(one, "options")
    assert getattr(one, "options", None) == getattr(two, "options", None)


class WithOptions(L1):
    """An agent of another package with a dataclass of hyperparameters."""

    @dataclass(frozen=True)
    class Options:
        keep: float = 0.75
        duration: float = 0.25

    def __init__(self, env, seed=0, **options):
        super().__init__(env, seed, **vars(self.Options(**options)))


def test_other_agents_list_their_hyperparameters_too():
    name = f"{__name__}:WithOptions"
    assert agents.hyperparameters(name) == {"keep": 0.75, "duration": 0.25}
    assert agents.make(name, ToyPruning()).keep == 0.75
    assert agents.make(name, ToyPruning(), keep=0.5).keep == 0.5
    with pytest.raises(ValueError, match=r"keep='x' must be a number, for example 0\.75"):
        agents.make(name, ToyPruning(), keep="x")
