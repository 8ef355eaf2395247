"""One small real run, and runs made of it with other agents, seeds and accuracies."""

import json
import shutil
from dataclasses import fields, replace

import pytest

import agents
from benchmarks.results import load, write
from prune_gym.envs import PruningEnv
from prune_gym.files import write_json
from prune_gym.runs import RunConfig
from prune_gym.runs import folder as files
from prune_gym.runs.finish import finish
from prune_gym.runs.recorder import Recorder
from prune_gym.runs.records import Accuracies
from prune_gym.runs.run import describe

TARGET = {"macs": 0.6}
CONFIGURED = {field.name for field in fields(RunConfig)}


@pytest.fixture(scope="session")
def real_run(tiny_trained, tmp_path_factory):
    """A finished run of two episodes on the tiny network, by the run's own writers."""
    folder = tmp_path_factory.mktemp("report") / "run"
    network, dataset = tiny_trained
    arguments = {"eval_images": 64, "repair_images": 64, "batch_size": 32, "max_epochs": 0.5}
    arguments |= {"threads": 1, "target": TARGET}
    env = PruningEnv(network, dataset, **arguments)
    env.reset(seed=0)
    names = {"network": network.architecture, "dataset": dataset.name}
    config = RunConfig(
        "Tiny-v0", "l1", episodes=2, final_epochs=0.5, env_arguments=arguments | names
    )
    setup = describe(config, env)
    folder.mkdir()
    files.write_setup(folder, setup)
    budget = config.search_budget(1)
    recorder = Recorder(folder, env, setup, budget, quiet=True)
    agents.make("l1", env, seed=0).learn(budget, recorder)
    recorder.close()
    finish(folder, env, recorder.best, setup, config, env.search_macs_total, quiet=True)
    return folder


@pytest.fixture
def make_run(real_run, tmp_path):
    """Makes runs: ``make_run("l2pf", 1, test=0.9)``; more arguments change the setup."""

    def make(agent, seed, test=0.8, spent=1000, scratch=None, finished=True, target=None, **more):
        folder = tmp_path / "runs" / f"{agent}-{seed}-{len(list(tmp_path.glob('runs/*')))}"
        shutil.copytree(real_run, folder, ignore=shutil.ignore_patterns("*.onnx", "*.pt2"))
        setup, report = files.read_setup(folder), files.read_report(folder)
        own = {"agent": agent, "seed": seed}
        own |= {name: more.pop(name) for name in CONFIGURED & set(more)}
        if target is not None:
            own["env_arguments"] = {**setup.config.env_arguments, "target": target}
        # Only the second network is within the tolerance of 0.2.
        setup = replace(
            setup, config=replace(setup.config, **own), accuracy=min(1.0, test + 0.09), **more
        )
        files.write_setup(folder, setup)
        episodes = files.read_episodes(folder)
        (folder / files.EPISODES).unlink()
        for number, episode in enumerate(episodes, start=1):
            accuracy = test - 0.2 + 0.05 * number
            steps = (*episode.steps[:-1], replace(episode.steps[-1], accuracy=accuracy))
            changed = replace(
                episode, accuracy=accuracy, search_macs_total=number * spent, steps=steps
            )
            files.append_episode(folder, changed)
        report = replace(
            report,
            setup=setup,
            accuracy=Accuracies(
                replace(report.validation, final=test - 0.01), replace(report.test, final=test)
            ),
            search=replace(report.search, search_macs_total=len(episodes) * spent),
        )
        if finished:
            files.write_report(folder, report)
        else:
            (folder / "best" / "report.json").unlink()
        if scratch is not None:
            record = {"validation_accuracy": scratch, "test_accuracy": scratch}
            write_json(folder / "scratch.json", record | {"options": {"epochs": 0.5}})
        return folder

    return make


@pytest.fixture
def write_records(tmp_path):
    """Writes folders of runs as a file of benchmark records; more arguments change the lines."""

    def record(*folders, name="records.jsonl", **changes):
        path = tmp_path / name
        write(path, [replace(result, task=("tiny", 1)) for result in load(folders)])
        lines = [json.loads(line) | changes for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return record
