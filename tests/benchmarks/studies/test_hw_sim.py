"""The benchmark runs, checks its cycles and writes its figures."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks.studies.hw_sim import figures, resnet20, silicon
from benchmarks.studies.hw_sim.__main__ import GOLDENS, main
from tests.hw_sim import networks


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["hw_sim", *arguments])
    main()


def test_benchmark_reports_the_goldens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    run(monkeypatch, "--repeats", "2", "--json", str(tmp_path / "figures.json"))
    out = capsys.readouterr().out
    assert all(str(cycles) in out for cycles in GOLDENS.values())
    written = json.loads((tmp_path / "figures.json").read_text())
    assert {row["cycles"] for row in written["searches"]} >= set(GOLDENS.values())


def test_benchmark_stops_where_cycles_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GOLDENS, ("eyeriss", "energy"), 1)
    with pytest.raises(SystemExit, match="456288 cycles, not 1"):
        run(monkeypatch, "--repeats", "1")


def test_layers_are_resnet20s() -> None:
    assert resnet20() == networks.resnet20()


def test_figures_and_silicon_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["figures", "--out", str(tmp_path)])
    figures.main()
    silicon.main()
    assert {file.name for file in tmp_path.iterdir()} == {
        "hw_sim_resnet20.png",
        "hw_sim_sawtooth.png",
        "hw_sim_silicon.png",
    }
    assert "pass_overhead_cycles=430" in capsys.readouterr().out
