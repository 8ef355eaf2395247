"""One small real run, and runs made of it with other agents, seeds and accuracies."""

import copy
import json
import shutil

import pytest

import agents
from agents.base import Budget
from prune_gym.envs import PruningEnv
from prune_gym.files import write_json
from prune_gym.runs import folder as run_folder
from prune_gym.runs.finish import finish
from prune_gym.runs.recorder import Recorder

TARGET = {"macs": 0.6}


@pytest.fixture(scope="session")
def real_run(tiny_trained, tmp_path_factory):
    """A finished run of two episodes on the tiny network, by the command's own writers."""
    folder = tmp_path_factory.mktemp("report") / "run"
    network, dataset = tiny_trained
    arguments = {"eval_images": 64, "repair_images": 64, "batch_size": 32, "max_epochs": 0.5}
    arguments |= {"threads": 1, "target": TARGET}
    env = PruningEnv(network, dataset, **arguments)
    env.reset(seed=0)
    facts = {"id": "Tiny-v0", "env_arguments": arguments, "agent": "l1", "agent_options": {}}
    facts |= {"seed": 0, "budget": {"episodes": 2, "steps": None}, "final_epochs": 0.5}
    run_folder.prepare(folder, overwrite=False)
    run_folder.write_config(folder, env, **facts)
    budget = Budget(episodes=2)
    recorder = Recorder(folder, env, 0, budget, quiet=True)
    agents.make("l1", env, seed=0).learn(budget, recorder)
    recorder.close()
    facts["search"] = run_folder.search_facts(folder)
    finish(env.baseline, recorder.best, folder / "best", 0.5, 0, facts, env.target)
    return folder


@pytest.fixture
def make_run(real_run, tmp_path):
    """Makes runs: ``make_run("l2pf", 1, test=0.9)``; more arguments change the configuration."""

    def make(agent, seed, test=0.8, spent=1000, scratch=None, finished=True, target=None, **config):
        folder = tmp_path / "runs" / f"{agent}-{seed}-{len(list(tmp_path.glob('runs/*')))}"
        shutil.copytree(real_run, folder, ignore=shutil.ignore_patterns("*.onnx", "*.pt2"))
        known = json.loads((folder / "config.json").read_text())
        known |= {"agent": agent, "seed": seed, **config}
        known["command"] = ["prune-gym", "train", "--agent", agent, "--seed", str(seed)]
        write_json(folder / "config.json", known)
        episodes = run_folder.read_episodes(folder)
        (folder / "episodes.jsonl").unlink()
        for number, episode in enumerate(episodes, start=1):
            changed = copy.deepcopy(episode) | {"seed": seed, "search_macs_total": number * spent}
            changed["accuracy"] = test - 0.2 + 0.05 * number
            # Only the second network is within the tolerance.
            changed["steps"][-1]["rewards"]["psi"] = -0.5 if number == 1 else 0.0
            run_folder.append_line(folder / "episodes.jsonl", changed)
        path = folder / "best" / "report.json"
        report = json.loads(path.read_text()) | {"agent": agent, "seed": seed}
        report["accuracy"]["test"]["final"] = test
        report["accuracy"]["validation"]["final"] = test - 0.01
        if target is not None:
            report["target"]["wanted"] = target
        write_json(path, report)
        if not finished:
            path.unlink()
        if scratch is not None:
            record = {"validation_accuracy": scratch, "test_accuracy": scratch}
            write_json(folder / "scratch.json", record | {"options": {"epochs": 0.5}})
        return folder

    return make


@pytest.fixture
def write_records(tmp_path):
    """Writes folders of runs as lines of a file of benchmark records."""

    def write(*folders, name="records.jsonl", **changes):
        path = tmp_path / name
        for folder in folders:
            scratch = folder / "scratch.json"
            record = {
                "schema": 1,
                "task": "tiny",
                "task_version": 1,
                "config": run_folder.read_config(folder),
                "episodes": run_folder.read_episodes(folder),
                "report": json.loads((folder / "best" / "report.json").read_text()),
                "scratch": json.loads(scratch.read_text()) if scratch.is_file() else None,
            }
            run_folder.append_line(path, record | changes)
        return path

    return write
