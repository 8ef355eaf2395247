"""ALF's numbers and the abstract's, from finished runs."""

import json
from dataclasses import asdict
from typing import Any

from benchmarks import tables
from benchmarks.results import Result, Scratch, load
from benchmarks.studies.alf.stages import AGENTS, Setting
from prune_gym import networks
from prune_gym.costs import CostModel
from prune_gym.pruning import Geometry
from prune_gym.pruning.saved import load_network
from prune_gym.runs.folder import BEST

ABSTRACT = {"parameters": -0.70, "operations": -0.61, "latency": -0.41}
ACCELERATORS = ("eyeriss_256", "eyeriss")
BATCHES = (1, 16)


def record(setting: Setting) -> dict[str, Any]:
    """All figures of one network's finished runs, and their setting.

    Reductions are negative where the network has less.
    """
    results = {each.agent: each for each in load(setting.run(agent).folder for agent in AGENTS)}
    alf, recipe = results["alf"].setup, setting.scratch.with_suffix(".json")
    scratch = Scratch.from_json(json.loads(recipe.read_text(encoding="utf-8")), str(recipe))
    return {
        "schema": 1,
        "command": setting.command,
        "network": setting.network,
        "abstract": ABSTRACT,
        "agents": {agent: _figures(results[agent]) for agent in AGENTS},
        "scratch": asdict(scratch),
        "alf_options": alf.config.agent_options,
        "from_scratch": setting.from_scratch,
        "two_player_epochs": setting.epochs,
        "final_epochs": setting.final_epochs,
        "versions": alf.versions,
        "machine": alf.machine,
        "hashes": alf.hashes,
        "threads": alf.threads,
        "seed": setting.seed,
        "started": alf.started,
    }


def _figures(result: Result) -> dict[str, Any]:
    report, folder = result.report, result.folder
    assert report is not None
    assert folder is not None
    small, _ = load_network(folder / BEST)
    full = networks.build(small.architecture, small.num_classes, small.input_shape[1])
    reductions: dict[str, float] = {}
    for accelerator in ACCELERATORS:
        for batch in BATCHES:
            before, after = (
                CostModel(
                    Geometry(each.module, each.spaces, each.input_shape), accelerator, batch=batch
                ).of()
                for each in (full, small)
            )
            reductions["parameters"] = after.params / before.params - 1
            reductions["operations"] = after.macs / before.macs - 1
            for name in ("latency_ms", "energy_uj"):
                change = getattr(after, name) / getattr(before, name) - 1
                reductions[f"{name.partition('_')[0]} {accelerator} batch {batch}"] = change
    return {
        "reductions": reductions,
        "accuracy": report.to_json()["accuracy"],
        "search_macs": report.search.search_macs_total,
        "final_epochs": report.final_epochs,
    }


def markdown(facts: dict[str, Any]) -> str:
    """The table in Markdown."""
    agents, scratch = facts["agents"], facts["scratch"]["test"]
    rows = []
    for name in agents["alf"]["reductions"]:
        known = ABSTRACT.get("latency" if name.startswith("latency") else name)
        cells = [f"{agents[agent]['reductions'][name]:+.1%}" for agent in agents]
        rows.append([name, "" if known is None else f"{known:+.0%}", *cells, ""])
    tests = [agents[agent]["accuracy"]["test"] for agent in agents]
    unpruned = tests[0]["unpruned"]
    finals = [*(test["final"] for test in tests), scratch]
    rows += [
        ["test accuracy, unpruned", "", *[f"{unpruned:.2%}"] * len(tests), ""],
        ["test accuracy", "", *(f"{final:.2%}" for final in finals)],
        ["points", "at most -1.9 (aim)", *(f"{100 * (f - unpruned):+.2f}" for f in finals)],
    ]
    head = [facts["network"], "abstract", *agents, "scratch (ALF's shape)"]
    return tables.markdown(head, rows)
