"""``prune-gym bench`` and ``validate``: matrices that survive failures, records that replay."""

import json
import os
import re
import signal
import subprocess
import time
from dataclasses import replace

import pytest

from agents.controls import L1
from benchmarks import groups, leaderboard, results, tasks
from benchmarks.runner import Benchmark
from benchmarks.tasks import TASKS, Task
from prune_gym.cli import main
from prune_gym.errors import PruneGymError
from tests.prune_gym.conftest import NETWORK

VERSIONS = {
    "smoke": (2, "749d768e5dce"),
    "shapes": (2, "086e8076d486"),
    "resnet20-latency": (1, "72a5da970ef6"),
    "vgg16-macs": (1, "27ccc392a716"),
    "vgg16-10x": (1, "d792a6979243"),
    "vgg16-latency": (1, "d23f5f356f77"),
    "vgg16-macs-params": (1, "db956a608a0b"),
    "plain20-latency": (1, "d0abe3543ec4"),
    "cifar10-2x": (2, "f7f04d210d8d"),
    "cifar10-3.84x": (2, "35a47fb5e6bf"),
    "cifar10-latency": (2, "340a567fb7b2"),
    "cifar10-3.84x-short": (2, "4d0c2eb1d61c"),
    "cifar10-resnet56-2x-short": (3, "33406fade90b"),
    "cifar10-resnet56-2x": (3, "6be439c3ea9b"),
    "cifar10-durations": (3, "3abb31aa4440"),
    "cifar10-durations-short": (3, "66eba89a75ff"),
    "cifar10-macs-0.6-short": (3, "b69d18ffbf81"),
    "cifar10-macs-0.6": (3, "202ad843c910"),
    "cifar10-macs-0.45-short": (3, "281e9bfa0f04"),
    "cifar10-macs-0.45": (3, "5ff9bfde5867"),
    "cifar10-macs-0.3-short": (3, "c369da8f3acd"),
    "cifar10-macs-0.3": (3, "1d4557ae46da"),
    "cifar10-latency-0.7-short": (3, "e725999bd758"),
    "cifar10-latency-0.7": (3, "a7a1b151a1ae"),
    "cifar10-latency-0.6-short": (3, "207eb24bdad2"),
    "cifar10-latency-0.6": (3, "c7f734c94353"),
    "cifar10-latency-0.52-short": (3, "82619278fb8a"),
    "cifar10-latency-0.52": (3, "42af157d7379"),
}


class Raises(L1):
    """A third party's agent that breaks in its first decision."""

    def decide(self, observation, callback):
        raise RuntimeError("this agent is broken")


@pytest.fixture(scope="module", autouse=True)
def home(workplace):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
        environment = {"network": NETWORK, "image_size": 8, "eval_images": 32, "batch_size": 32}
        environment |= {"repair_images": 32, "max_epochs": 0.5, "target": {"macs": 0.6}}
        tiny = Task("tiny", 3, "PruneResNet20-v0", environment, 2.0, 0.1, needs_data=True)
        patch.setitem(TASKS, "tiny", tiny)
        every = replace(tiny, name="tiny-all", environment={**environment, "scope": "all"})
        patch.setitem(TASKS, "tiny-all", every)
        yield


@pytest.fixture(scope="module")
def words(workplace):
    def make(out, agents, *more):
        data = f"imagefolder:{workplace}/images"
        words = ["bench", "tiny", "--agents", agents, "--out", str(out), "--dataset", data]
        return [*words, "--quiet", *more]

    return make


@pytest.fixture(scope="module")
def benched(words, tmp_path_factory):
    out = tmp_path_factory.mktemp("bench") / "out"
    assert main(words(out, "l1,random", "--seeds", "2", "--workers", "2")) == 0
    return out


@pytest.fixture
def records(benched, tmp_path):
    """Writes the records to a file, changed by a function."""

    def make(change=lambda record: None):
        lines = [json.loads(line) for line in (benched / "records.jsonl").read_text().splitlines()]
        change(lines[0])
        path = tmp_path / "records.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    return make


@pytest.fixture
def validate(workplace):
    def run(path, *more):
        images = f"imagefolder:{workplace}/images"
        return main(["validate", str(path), "--quiet", "--dataset", images, *more])

    return run


def test_images_of_a_folder_have_to_be_named(records, capsys):
    assert main(["validate", str(records()), "--quiet"]) == 2
    assert "Name it: --dataset imagefolder:PATH" in capsys.readouterr().err


def test_the_matrix_and_its_records(benched, words, workplace, capsys):
    folders = {path.name for path in benched.iterdir() if path.is_dir()}
    assert folders == {"l1-0", "l1-1", "random-0", "random-1"}
    text = (benched / "records.jsonl").read_text()
    assert str(benched) not in text
    assert f"{workplace}/images" not in text
    found = results.load([benched / "records.jsonl"])
    assert [result.agent for result in found] == ["l1", "random", "l1", "random"]
    for result in found:
        assert result.task == ("tiny", 3)
        assert result.report.target.met
        assert 1.4 < result.report.compute.total <= 2
        assert any(episode.steps for episode in result.episodes)
    # One shape is trained from scratch, with all that its run had.
    scratch = [result.scratch for result in found if result.scratch is not None]
    assert [result.scratch is not None for result in found] == [True, False, False, False]
    assert scratch[0].options.epochs == pytest.approx(2 * found[0].report.ratios["macs"], 1e-3)
    assert 0 < scratch[0].test_accuracy < 1
    # Nothing is left to be done, so nothing is run.
    times = {path: path.stat().st_mtime for path in benched.rglob("report.json")}
    assert main(words(benched, "l1,random", "--seeds", "2")) == 0
    assert times == {path: path.stat().st_mtime for path in benched.rglob("report.json")}
    table = capsys.readouterr().out
    assert "| l1 (control) | 2 |" in table
    assert "| random (control) | 2 |" in table


def test_a_missing_control_is_made_up_and_can_be_left_out(words, benched, tmp_path, capsys):
    weights = benched / "l1-0" / "scratch.safetensors"
    before = weights.read_bytes()
    weights.with_suffix(".json").unlink()
    report = benched / "l1-0" / "best" / "report.json"
    searched = report.stat().st_mtime
    assert main(words(benched, "l1")) == 0
    assert weights.read_bytes() == before
    assert report.stat().st_mtime == searched
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("| l1 "))
    recipe = benched / "l1-0" / "scratch.json"
    assert f"| {json.loads(recipe.read_text())['test_accuracy']:.2%} |" in row
    out = tmp_path / "out"
    assert main(words(out, "uniform", "--no-scratch")) == 0
    assert not (out / "uniform-0" / "scratch.json").exists()
    assert json.loads((out / "records.jsonl").read_text())["scratch"] is None


@pytest.mark.float
def test_fresh_records_replay(records, capsys, validate):
    assert validate(records()) == 0
    printed = capsys.readouterr().out
    assert "4 records, 0 differences" in printed
    assert "without those after the final fine-tune (--final)" in printed
    assert "within 1e-05, 1e-05 on average (same microarchitecture" in printed


BLOCK = {"sparsity": 0.5, "codes": 3, "merged": False}
BLOCK |= {"reconstruction_error": 0.1, "updates": 1}


def _config(record):
    return record["setup"]["config"]


def _best(record):
    return next(episode for episode in record["episodes"] if episode["steps"])


def _another_seed(record):
    """Pass the run off as another seed's."""
    record["setup"]["config"]["seed"] = record["report"]["final_seed"] = 7


def _longer(record):
    """Add an episode that nobody ran."""
    last = {**record["episodes"][-1], "accuracy": 0.0, "steps": []}
    last["search_macs_total"] += last["search_macs"]
    last["number"] += 1
    record["episodes"].append(last)


def _dearer(record):
    """Add an episode after the search had spent its share."""
    record["episodes"][-1]["search_macs_total"] *= 1000
    _longer(record)


def _seed_of_a_later_episode(record):
    """Another seed's run, whose first draw is not checked in a later episode."""
    _another_seed(record)
    _best(record)["number"] = 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: _best(r)["steps"][0]["costs"].update(macs=1), "macs is 1, here"),
        (lambda r: _best(r)["steps"][-1].update(accuracy=0.999), "accuracy is 0.999"),
        (lambda r: _best(r)["steps"][-1].update(accuracy=0.999), "not those of its last step"),
        (lambda r: _best(r).update(accuracy=0.999), "not those of its last step"),
        (lambda r: _best(r)["costs"].update(macs=1), "not those of its last step"),
        (lambda r: _best(r).update(search_macs=7), "search_macs is 7, here"),
        (
            lambda r: _best(r)["steps"][0]["costs"].update(latency_ms=1e9),
            "latency_ms is 1000000000.0",
        ),
        (lambda r: _best(r)["steps"][0]["kept"].pop(), "macs is"),
        (lambda r: _best(r)["steps"][0].pop("seed"), "have no seed"),
        (lambda r: _best(r)["steps"].pop(), "steps, here"),
        (lambda r: r["setup"]["config"].update(seed=7), "is not one that seed 7 draws"),
        (_another_seed, "is not one that seed 7 draws"),
        (lambda r: _best(r).update(search_macs_total=5), "search_macs_total is 5, less than"),
        (_longer, "it began after the limit of 1 episodes"),
        (_dearer, "it began after the search's share of"),
        (_seed_of_a_later_episode, "episode 1 is at the place of episode 0"),
        (lambda r: _best(r).update(complete=False), "it has steps and was not the best so far"),
        (lambda r: _best(r)["steps"][0].update(space="trunk9"), "of other layers"),
        (lambda r: r["setup"].update(accuracy=0.999), "unpruned network: accuracy is 0.999"),
        (lambda r: r["setup"]["costs"].update(latency_ms=1), "unpruned network: latency_ms is 1"),
        (lambda r: r["setup"].update(channels={}), "unpruned network: channels are {}, here"),
        (lambda r: r["report"].update(channels={}), "report: channels are {}, here"),
        (lambda r: r["report"].update(final_epochs=30), "final_epochs is 30.0, the run's is"),
        (lambda r: r["report"]["compute"].update(tuning=1), "compute is Compute(epoch="),
        (lambda r: r["report"]["compute"].update(search=1), "report: its search took 1 MACs"),
        (
            lambda r: r["report"]["compute"].update(teacher=10**18),
            "of 2 epoch-equivalents",
        ),
        (lambda r: r["report"].update(final_seed=30), "final_seed is 30, the run's is 0"),
        (lambda r: r["report"]["costs"].update(params=1), "report: params is 1, here"),
        (lambda r: [e.update(steps=[]) for e in r["episodes"]], "no episode has steps"),
        (lambda r: r.update(report=None), "there is no report"),
    ],
)
def test_edited_values_are_found(records, capsys, change, message, validate):
    assert validate(records(change)) == 1
    printed = capsys.readouterr().out
    assert message in printed
    assert "line 1" in printed


def test_a_copied_run_is_found_and_a_repeated_one_told(records, capsys, validate):
    path = records()
    first = path.read_text().splitlines()[0]
    path.write_text(f"{first}\n{first}\n")
    assert validate(path) == 0
    assert (
        f"{str(path)!r} line 2 repeats {str(path)!r} line 1: tables count it once"
        in capsys.readouterr().out
    )
    other = json.loads(first)
    _another_seed(other)
    path.write_text(f"{first}\n{json.dumps(other)}\n")
    assert validate(path) == 1
    assert "line 1, of another seed" in capsys.readouterr().out


@pytest.mark.float
@pytest.mark.parametrize(
    ("split", "which"), [("test", "final"), ("validation", "after_search"), ("test", "unpruned")]
)
def test_an_edited_score_is_found_by_the_final_fine_tune(records, capsys, validate, split, which):
    assert validate(records(), "--final") == 0
    path = records(lambda r: r["report"]["accuracy"][split].update({which: 0.999}))
    assert validate(path) == 0
    assert validate(path, "--final") == 1
    assert f"report, {split}, {which}: accuracy is 0.999000" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(kept=[0, 999]), "kept="),
        (lambda s: s.update(kept=["a"]), "kept[0]='a'"),
        (lambda s: s.update(seed="x"), "seed='x'"),
        (lambda s: s.update(duration=7), "duration=7"),
        (lambda s: s.update(accuracy=None), "accuracy=None"),
        (lambda s: s["costs"].pop("macs"), "costs.macs is missing"),
        (lambda s: s.update(block=BLOCK), "action_mode is 'filters'"),
    ],
)
def test_steps_that_cannot_be_are_refused(records, capsys, validate, change, message):
    assert validate(records(lambda r: change(_best(r)["steps"][0]))) == 2
    printed = capsys.readouterr().err
    assert "step 0" in printed or "steps[0]" in printed
    assert message in printed


@pytest.mark.float
def test_another_machine_gets_another_tolerance(records, capsys, validate):
    def change(record):
        record["setup"]["machine"].pop("microarchitecture")
        _best(record)["steps"][-1]["accuracy"] -= 0.02
        _best(record)["accuracy"] = _best(record)["steps"][-1]["accuracy"]

    assert validate(records(change)) == 0
    expected = "1 records: accuracies within 0.15, 0.03 on average (other microarchitecture)"
    assert expected in capsys.readouterr().out


@pytest.mark.float
def test_what_was_edited_everywhere_passes_nowhere(records, capsys, validate):
    def change(record):
        record["setup"]["machine"].pop("vector")
        for step in [step for episode in record["episodes"] for step in episode["steps"]]:
            step["accuracy"] -= 0.05

    assert validate(records(change)) == 1
    assert "accuracies differ by 0.05" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(schema=9), "of schema 9"),
        (lambda r: r.update(task_version=2), "is of version 2 of 'tiny', here it is 3"),
        (lambda r: r.update(task="other"), "task 'other'"),
        (lambda r: r["setup"].update(env_revision=1), "revision 1"),
        (lambda r: _config(r)["env_arguments"].update(tolerance=0.9), "env_arguments is"),
        (lambda r: _config(r).update(search_macs=10**9), "limits is"),
        (lambda r: _config(r).update(episodes=3), "limits is"),
        (lambda r: _config(r).update(budget=9), "budget is 9"),
        (lambda r: _config(r).update(search_share=0.5), "search_share is 0.5"),
        (lambda r: _config(r).update(env_id="Other-v0"), "environment is Other-v0"),
        (lambda r: _config(r).update(env_id=""), "env_id='' must be a name"),
        (lambda r: _config(r).update(seed="0"), "seed='0' (expected `int`"),
        (lambda r: r["setup"].update(machine=[]), "machine=[] (expected `object`"),
        (lambda r: r.update(episodes=5), "episodes=5 (expected `array`"),
        (
            lambda r: _best(r).update(costs={**_best(r)["costs"], "macs": 10**400}),
            "costs.macs=1000",
        ),
        (
            lambda r: r["report"]["accuracy"]["test"].update(final=2.0),
            "accuracy.test.final=2.0 (expected `float` <= 1.0)",
        ),
        (lambda r: r["setup"].update(threads=2), "threads is 2, its environment has 1"),
        (
            lambda r: r["report"].update(costs={}),
            "costs.params is missing",
        ),
        (
            lambda r: r["scratch"].update(test_accuracy=7.0),
            "test_accuracy=7.0 (expected `float` <= 1.0)",
        ),
        (lambda r: r["setup"]["hashes"].update(weights="0" * 64), "of its weights is 00000"),
        (lambda r: r["setup"]["hashes"].update(accelerator="f" * 64), "of its accelerator is ff"),
    ],
)
def test_records_of_something_else_are_refused(records, capsys, change, message, validate):
    assert validate(records(change)) == 2
    assert message in capsys.readouterr().err


def test_a_cut_line_is_refused(records, capsys, validate):
    path = records()
    path.write_text(path.read_text()[:-200])
    assert validate(path) == 2
    assert "line 4 is damaged" in capsys.readouterr().err


def test_one_that_raises_does_not_lose_the_others(words, tmp_path, capsys):
    out = tmp_path / "out"
    broken = "tests.prune_gym.cli.test_bench:Raises"
    assert main(words(out, f"{broken},l1")) == 1
    printed = capsys.readouterr()
    assert "1 of 2 cells failed" in printed.err
    assert "this agent is broken" in printed.err
    assert "| l1 (control) | 1 |" in printed.out
    assert len((out / "records.jsonl").read_text().splitlines()) == 1
    assert main(words(tmp_path / "none", broken)) == 1
    assert "|" not in capsys.readouterr().out
    assert not (tmp_path / "none" / "records.jsonl").exists()


def test_a_killed_run_continues(words, workplace, tmp_path, benched):
    out = tmp_path / "out"
    bench = Benchmark(TASKS["tiny"], out, ["l1"], dataset=f"imagefolder:{workplace}/images")
    bench.prepare()
    (cell,) = bench.cells()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    start = cell.stages[0].command()
    with subprocess.Popen(start, stderr=subprocess.DEVNULL, env=environment) as process:
        deadline = time.monotonic() + 120
        while not (cell.folder / "config.json").is_file() and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not cell.done
    assert main(words(out, "l1")) == 0
    one, other = (
        json.loads((folder / "records.jsonl").read_text().splitlines()[0])
        for folder in (out, benched)
    )
    assert one["report"]["accuracy"] == other["report"]["accuracy"]
    assert [e["accuracy"] for e in one["episodes"]] == [e["accuracy"] for e in other["episodes"]]


def test_records_stand_beside_without_being_run(words, benched, tmp_path, capsys):
    out = tmp_path / "out"
    against = ["--against", str(benched / "records.jsonl")]
    assert main(words(out, "uniform", *against)) == 0
    printed = capsys.readouterr().out
    assert "| uniform (control) | 1 |" in printed
    assert "| random (control) | 2 |" in printed
    assert not (out / "random-0").exists()


def test_bad_input(words, benched, tmp_path, capsys):
    def fails(*words):
        assert main(list(words)) == 2
        return capsys.readouterr().err

    assert "task 'nothing'" in fails("bench", "nothing", "--out", str(tmp_path / "a"))
    assert "--out is needed" in fails("bench", "smoke")
    assert "agent 'nobody'" in fails("bench", "smoke", "--agents", "nobody", "--out", str(tmp_path))
    assert "add --dataset" in fails("bench", "cifar10-2x", "--out", str(tmp_path / "a"))
    assert "leave --dataset x out" in fails(
        "bench", "smoke", "--dataset", "x", "--out", str(tmp_path / "a")
    )
    assert "must not be mixed" in fails("bench", "smoke", "--out", str(benched))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("mine")
    assert "holds no benchmark" in fails("bench", "smoke", "--out", str(tmp_path / "b"))
    assert not (tmp_path / "a").exists()
    assert "--seeds 0" in fails(*words(tmp_path / "a", "l1"), "--seeds", "0")
    assert "--workers 0" in fails(*words(tmp_path / "a", "l1"), "--workers", "0")
    assert "names none" in fails(*words(tmp_path / "a", ","))
    assert "names l1 twice" in fails(*words(tmp_path / "a", "l1,random,l1"))
    assert "Did you mean 'duration'?" in fails(*words(tmp_path / "a", "l1@duratoin=1"))
    assert "device 'cuda:7'" in fails(*words(tmp_path / "a", "l1"), "--device", "cuda:7")
    assert not (tmp_path / "a").exists()
    assert "is a file" in fails(*words(tmp_path / "b" / "mine.txt", "l1"))
    assert main(["bench"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert any(
        re.match(r"shapes +version 2 .*macs=0.26, 1 epoch-equivalents", line) for line in listed
    )


def test_a_run_and_its_record_are_one_and_the_same(benched):
    found = results.load([benched, benched / "records.jsonl"])
    (own,) = groups.group(found)
    assert [(row.label, row.seeds) for row in own.rows] == [("l1", [0, 1]), ("random", [0, 1])]
    assert len(own.repeats) == 4
    assert leaderboard.text(found).count("\n| ") == 2


def test_variants_of_an_agent(words, tmp_path, capsys):
    out = tmp_path / "out"
    variants = ["l1@duration=0.25", "l1@duration=0.5"]
    assert main(words(out, ",".join(variants), "--no-scratch")) == 0
    folders = {f"{name}-0" for name in variants}
    assert {path.name for path in out.iterdir() if path.is_dir()} == folders
    assert {path.name for path in out.glob("*.log")} == {f"{name}.log" for name in folders}
    table = capsys.readouterr().out
    assert "| l1 (duration 0.25) |" in table
    assert "| l1 (duration 0.5) |" in table
    with pytest.raises(PruneGymError, match=r"'l1@duration': 'duration' must be option=value"):
        tasks.variant("l1@duration")
    assert tasks.variant("a.b:C@x=1@y=z") == ("a.b:C", {"x": 1, "y": "z"})


@pytest.mark.float
def test_networks_compressed_as_a_whole_are_held_by_their_costs(words, tmp_path, capsys, validate):
    out = tmp_path / "out"
    command = words(out, "alf@epochs=0.2@first_updates=60", "--no-scratch")
    command[1] = "tiny-all"
    assert main(command) == 0
    path = out / "records.jsonl"
    assert validate(path) == 0
    assert "costs only" in (printed := capsys.readouterr().out)
    assert "1 records, 0 differences" in printed
    record = json.loads(path.read_text())
    _best(record)["steps"][-1]["block"]["codes"] += 1
    path.write_text(json.dumps(record) + "\n")
    assert validate(path) == 1
    assert "macs is" in capsys.readouterr().out


def test_every_task_has_a_version():
    assert set(VERSIONS) == set(TASKS) - {"tiny", "tiny-all"}


@pytest.mark.parametrize("name", list(VERSIONS))
def test_a_changed_task_is_another_version(name):
    task = tasks.find(name)
    assert (task.version, task.fingerprint[:12]) == VERSIONS[name], (
        "the task was changed: raise its version, then note its fingerprint here"
    )
