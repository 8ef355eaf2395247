"""Nothing that a file names is imported without the user's word."""

import json
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import agents
import benchmarks
from prune_gym import networks, trust
from prune_gym.cli import main
from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.manifest import seal
from prune_gym.pruning.saved import load_network, save_network
from prune_gym.runs import Run
from prune_gym.runs.recording import record as record_episodes
from prune_gym.trust import UntrustedError
from tests.prune_gym.conftest import NETWORK, SETTINGS, train_command

MARK = """
import pathlib
pathlib.Path(__file__).with_name("imported").touch()
def made(*arguments, **more):
    pathlib.Path(__file__).with_name("called").touch()
class Made: pass
"""
NAMES = ("stranger_module:made", "stranger_module:Made", "stranger_module")


@pytest.fixture(autouse=True)
def nothing_trusted():
    token = trust._trusted.set(frozenset())
    yield
    trust._trusted.reset(token)


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """A folder with a module that leaves a mark when it is imported; it is the current one."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "stranger_module.py").write_text(MARK)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield folder
    sys.modules.pop("stranger_module", None)


@pytest.fixture(scope="module")
def run(workplace, tmp_path_factory):
    """A stopped run with a surrogate's records beside it."""
    out = tmp_path_factory.mktemp("trust") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
        assert main([*train_command(workplace, out), "--quiet"]) == 0
    return out


def fields(value, path=()):
    """Paths of all texts in a JSON value."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from fields(each, (*path, name))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from fields(each, (*path, number))


def changed(value, path, text):
    if not path:
        return text
    copy = value.copy()
    copy[path[0]] = changed(value[path[0]], path[1:], text)
    return copy


READERS = (
    lambda out: ["report", out, "-o", f"{out}-page"],
    lambda out: ["evaluate", out],
    lambda out: ["evaluate", out, "--policy"],
    lambda out: ["profile", f"{out}/best"],
    lambda out: ["spaces", f"{out}/best"],
    lambda out: [
        "pretrain",
        "--shape",
        f"{out}/best",
        "--epochs",
        "0.01",
        "--out",
        f"{out}-w.safetensors",
    ],
)
"""Commands that read a finished run."""
CONTINUED = (
    lambda out: ["export", out, "--quiet", "--final-epochs", "0"],
    lambda out: ["train", "--resume", out, "--quiet", "--final-epochs", "0"],
)
"""Commands that continue a run that is not finished."""


def edit(out, name, value):
    """Write other content to a file of a run, with fitting checksums."""
    (out / name).write_text(json.dumps(value))
    for folder in (out / name).parents:
        if (folder / "manifest.json").is_file():
            seal(folder)


def walk(run, stranger, tmp_path, commands, wanted=lambda place: True, files=None):
    """Replace texts in all JSON files of a run by the name of a module, and run commands.

    Only the network of the run itself is trusted, so that commands go on to the other names.
    """
    tried = 0
    for path in sorted(run.rglob("*.json")):
        name, value, seen = path.relative_to(run), json.loads(path.read_text()), set()
        for place in fields(value):
            # Entries of long lists are alike.
            key = tuple("*" if isinstance(part, int) else part for part in place)
            if key in seen or not wanted(place) or path.name == "manifest.json":
                continue
            if files and (path.name not in files or path.parent.parent.name == "checkpoint"):
                continue  # the slow test has them
            seen.add(key)
            edited = changed(value, place, NAMES[len(seen) % 2])
            for command in commands:
                out = tmp_path / str(tried)
                shutil.copytree(run, out)
                edit(out, name, edited)
                if command in CONTINUED:
                    (out / "best" / "report.json").unlink()
                with suppress(SystemExit), trust.trusting([NETWORK]):
                    main(command(str(out)))
                assert not (stranger / "imported").exists(), (name, place, command(str(out)))
                tried += 1
                shutil.rmtree(out)
    return tried


@pytest.fixture
def at_home(workplace, monkeypatch):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))


@pytest.mark.slow
@pytest.mark.parametrize("command", READERS + CONTINUED, ids=lambda command: command("RUN")[0])
def test_no_field_of_any_file_imports_a_module(run, stranger, at_home, tmp_path, command):
    assert walk(run, stranger, tmp_path, [command]) > 50


def test_no_field_that_names_code_imports_a_module(run, stranger, at_home, tmp_path):
    code = ("architecture", "agent", "network")
    commands = (READERS[1], READERS[3], READERS[5], CONTINUED[0])
    files = ("config.json", "network.json")
    tried = walk(run, stranger, tmp_path, commands, lambda place: place[-1] in code, files)
    assert tried >= 12


def test_no_record_imports_a_module(stranger, workplace, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
    smoke = next(Path(benchmarks.__file__).parent.joinpath("data").glob("smoke*.jsonl"))
    record = json.loads(smoke.read_text().splitlines()[0])
    settings = {**SETTINGS, "dataset": f"imagefolder:{workplace}/images", "threads": 1}
    file = tmp_path / "surrogate.jsonl"
    record_episodes(file, "PruneResNet20-v0", settings, 2, ["random"], quiet=True)
    header, *lines = file.read_text().splitlines()
    for name in NAMES:
        for place in (("setup", "config", "env_arguments"), ("setup", "config", "agent")):
            value = {"network": name} if place[-1] == "env_arguments" else name
            (tmp_path / "r.jsonl").write_text(json.dumps(changed(record, place, value)) + "\n")
            # A name without a module is not looked up: the record replays without the agent.
            assert main(["validate", str(tmp_path / "r.jsonl")]) == 2 or ":" not in name
            main(["report", str(tmp_path / "r.jsonl"), "-o", str(tmp_path / "page")])
        for place in (("env_arguments", "network"), ("id",)):
            edited = json.dumps(changed(json.loads(header), place, name))
            file.write_text("\n".join([edited, *lines]) + "\n")
            assert main(["fit-surrogate", str(file), "--out", str(tmp_path / "s.safetensors")]) == 2
    assert not (stranger / "imported").exists()
    assert "--trust" in capsys.readouterr().err


def test_a_name_from_a_file_needs_trust(run, capsys, monkeypatch, workplace, tmp_path):
    monkeypatch.setenv("PRUNE_GYM_HOME", str(workplace / "home"))
    with pytest.raises(UntrustedError, match=r"--trust tests\.tiny:tiny_network"):
        Run.open(run)
    assert Run.open(run, trust=["tests.tiny:tiny_network"]).folder == run
    assert main(["evaluate", str(run)]) == 2
    assert "--trust tests.tiny:tiny_network" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--trust", "tests.tiny:tiny_network"]) == 0
    assert trust._trusted.get() == frozenset(), "trust ends with the command"
    # The saved network needs no source.
    network, kept = load_network(run / "best")
    assert set(kept) == {"one", "two"}
    assert type(network.module).__name__ == "DataNet"
    built, _ = load_network(run / "best", trust=["tests.tiny:tiny_network"])
    assert type(built.module).__name__ == "TinyNet"
    bare = tmp_path / "bare"
    shutil.copytree(run / "best", bare)
    (bare / "graph.json").unlink()
    with pytest.raises(UntrustedError, match=r"names the network 'tests\.tiny:tiny_network'"):
        load_network(bare)


def test_names_that_the_user_types_are_imported(stranger):
    with pytest.raises(PruneGymError, match="returned a NoneType"):
        networks.build("stranger_module:made")
    assert (stranger / "imported").exists()


def test_the_current_folder_is_searched_only_for_typed_names(stranger, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(stranger)])
    before = list(sys.path)
    assert trust.import_object("stranger_module:Made").__name__ == "Made"
    assert sys.path == before


@pytest.mark.parametrize("name", ["stranger_module", "os", "os.path"])
def test_a_module_without_an_object_is_not_imported(stranger, name):
    with pytest.raises(UnknownNameError):
        agents.lookup(name)
    with pytest.raises(UnknownNameError):
        networks.build(name)
    assert not (stranger / "imported").exists()


def test_what_is_installed_needs_no_trust(tmp_path, monkeypatch):
    facts = tmp_path / "other-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[prune_gym.networks]\ntiny_of_other = tests.tiny:tiny_network\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "tiny_of_other" in networks.names()
    assert networks.build("tiny_of_other", 4, 8).architecture == "tiny_of_other"
    networks.check_trusted("tiny_of_other", "a file")
    networks.check_trusted("torchvision:resnet18", "a file")


def test_a_saved_network_of_torchvision_needs_no_trust(tmp_path):
    network = networks.build("torchvision:squeezenet1_1", 4, 64)
    kept = {space.name: np.arange(space.channels) for space in network.spaces}
    save_network(tmp_path, network, kept)
    assert not (tmp_path / "graph.json").exists()
    loaded, _ = load_network(tmp_path)
    assert loaded.architecture == "torchvision:squeezenet1_1"
