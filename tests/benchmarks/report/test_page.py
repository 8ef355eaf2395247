"""The page through the command: its numbers, its figures, and nothing to load from elsewhere."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from benchmarks.report import network
from benchmarks.results import load
from prune_gym.cli import main


class Page(HTMLParser):
    """Collects what a page says, what it would load, and whether its tags close."""

    VOID = ("meta", "img", "br", "link", "hr", "input")

    def __init__(self, text):
        super().__init__()
        self.loads, self.words, self.open, self.tags, self.anchors = [], [], [], [], []
        self.ids = set()
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids.add(values.get("id"))
        if tag == "a":
            self.anchors.append(values["href"])
        else:
            self.loads += [values[name] for name in ("src", "href", "srcset") if name in values]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


@pytest.fixture
def write_page(tmp_path):
    def write(*paths):
        out = tmp_path / "report"
        assert main(["report", *map(str, paths), "-o", str(out), "--note", "a <b> & copy"]) == 0
        return Page((out / "index.html").read_text(encoding="utf-8")), out

    return write


def test_page_of_two_groups(make_run, write_records, write_page, tmp_path, capsys):
    for seed in range(2):
        make_run("l2pf", seed, test=0.7313 + seed / 10, scratch=0.3)
        make_run("random", seed, test=0.6)
        make_run("l2pf", seed, test=0.85, target={"macs": 0.3})
        make_run("random", seed, test=0.55, target={"macs": 0.3})
    unfinished = make_run("sac", 0, finished=False)
    again = make_run("random", 0, test=0.25)
    page, out = write_page(tmp_path / "runs", again)
    assert "wrote" in capsys.readouterr().out

    assert page.open == []
    assert "script" not in page.tags
    assert page.loads
    assert all(load.startswith("data:image/png;base64,") for load in page.loads)
    text = (out / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|url\(|@import", text)
    assert {anchor.removeprefix("#") for anchor in page.anchors} <= page.ids

    assert "9 finished runs, 1 unfinished" in page.text
    for part in (
        "a <b> & copy",
        "78.13",
        "MACs ≤ 60 %",
        "MACs ≤ 30 %",
        "Controls that were not run here: uniform, l1.",
        "Fewer than three seeds: l2pf, random.",
        f"prune-gym train --resume {unfinished}",
        "Repeats a seed",
        "prune-gym train Tiny-v0 --agent l2pf --seed 1",
        "data set tiny",
        "All groups together",
    ):
        assert part in page.text, part

    names = {path.stem for path in (out / "figures").iterdir()}
    kinds = ("accuracy", "pareto", "efficiency", "filters", "kept", "layers")
    assert names == {f"{number}-{kind}" for number in (1, 2) for kind in kinds} | {"profiles"}
    assert len(page.loads) == len(names)
    for path in (out / "figures").iterdir():
        image = Image.open(io.BytesIO(path.read_bytes()))
        assert image.width > 500
        assert len(image.convert("L").getcolors()) > 10


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made but not drawn, which takes most of a page's time."""
    monkeypatch.setattr("benchmarks.report.page._Album.uri", lambda album, picture: "data:")


def test_one_run_one_record_and_only_unfinished_ones(make_run, write_records, write_page, undrawn):
    folder = make_run("l1", 0)
    page, _ = write_page(folder)
    assert "1 finished run, in 1 group" in page.text
    assert "All groups together" not in page.text
    record, _ = write_page(write_records(folder))
    assert "tiny version 1" in record.text
    # Nothing that a record names is imported: the layers of an unknown network are not drawn.
    assert "cannot be shown: the network 'tests.tiny:tiny_network' is not known here" in record.text
    empty, _ = write_page(make_run("sac", 0, finished=False))
    assert "0 finished runs, 1 unfinished" in empty.text


def test_the_same_runs_give_the_same_page(make_run, write_records, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.report.page.DPI", 40)
    run, texts = write_records(make_run("l1", 0)), []
    for name in ("one", "two"):
        assert main(["report", str(run), str(run), "-o", str(tmp_path / name)]) == 0
        texts.append((tmp_path / name / "index.html").read_bytes())
    assert texts[0] == texts[1]


def test_layer_costs_add_up_to_the_record_or_are_not_drawn(make_run):
    (result,) = load([make_run("l1", 0)])
    unpruned, pruned = network.layer_costs(result)
    costs = result.report.costs
    assert sum(layer.cycles for layer in pruned.layers) == costs.cycles
    assert pruned.cycles < unpruned.cycles
    costs = replace(costs, cycles=costs.cycles + 1)
    with pytest.raises(network.CannotDrawError, match="cycles here"):
        network.layer_costs(replace(result, report=replace(result.report, costs=costs)))
    setup = replace(result.setup, hashes={**result.setup.hashes, "accelerator": "0" * 64})
    with pytest.raises(network.CannotDrawError, match="has changed since"):
        network.layer_costs(replace(result, setup=setup))


def test_bad_input(make_run, tmp_path, capsys):
    assert main(["report", str(tmp_path / "nowhere"), "-o", str(tmp_path / "r")]) == 2
    assert "does not exist" in capsys.readouterr().err
    run = make_run("l1", 0)
    (tmp_path / "file").write_text("")
    assert main(["report", str(run), "-o", str(tmp_path / "file")]) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
    (run / "best" / "report.json").write_text("{")
    assert main(["report", str(run), "-o", str(tmp_path / "r")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "report.json" in error
    assert not (tmp_path / "r").exists()
