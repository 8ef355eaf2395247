"""ALF's figures beside the abstract's, from finished runs."""

import json
from pathlib import Path
from typing import Any

from benchmarks import tables
from benchmarks.studies.alf.stages import Setting
from prune_gym import networks
from prune_gym.costs import CostModel
from prune_gym.pruning import Geometry
from prune_gym.pruning.saved import load_network

ABSTRACT = {"parameters": -0.70, "operations": -0.61, "latency": -0.41}
ACCELERATORS = ("eyeriss_256", "eyeriss")
BATCHES = (1, 16)


def record(setting: Setting) -> dict[str, Any]:
    """All figures of one network's runs.

    Args:
        setting: Setting of the finished runs.

    Returns:
        For each agent reductions (negative: less) and accuracies, for the scratch control its
        accuracies, and how all was made.
    """
    agents = {agent: _figures(setting.run(agent)) for agent in ("alf", "l1", "l2pf")}
    config = json.loads((setting.run("alf") / "config.json").read_text(encoding="utf-8"))
    scratch = json.loads(setting.scratch.with_suffix(".json").read_text(encoding="utf-8"))
    kept = ("versions", "machine", "hashes", "threads", "seed", "started")
    return {
        "schema": 1,
        "command": setting.command,
        "network": setting.network,
        "abstract": ABSTRACT,
        "agents": agents,
        "scratch": {
            "epochs": scratch["options"]["epochs"],
            "validation": scratch["validation_accuracy"],
            "test": scratch["test_accuracy"],
        },
        "alf_options": config["agent_options"],
        "from_scratch": setting.from_scratch,
        "two_player_epochs": setting.epochs,
        "final_epochs": setting.final_epochs,
        **{name: config[name] for name in kept},
    }


def _figures(run: Path) -> dict[str, Any]:
    report = json.loads((run / "best" / "report.json").read_text(encoding="utf-8"))
    small, _ = load_network(run / "best")
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
        "accuracy": report["accuracy"],
        "search_macs": report["search"]["search_macs_total"],
        "final_epochs": report["final_epochs"],
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
