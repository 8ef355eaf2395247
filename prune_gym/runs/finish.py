"""From the search's best network to files: final fine-tune, the one look at the test split."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.state import State
from prune_gym.envs.target import Target, report_lines
from prune_gym.export import export_network
from prune_gym.training import TrainingOptions, split_accuracy, train

FINAL_TUNING = TrainingOptions(
    learning_rate=0.05, schedule="one_cycle", distillation=0.7, temperature=4.0
)


def final_batches(baseline: Baseline, epochs: float) -> int:
    """Mini-batches of a final fine-tune."""
    return round(epochs * len(baseline.train_split.labels) / FINAL_TUNING.batch_size)


def fine_tuned(
    baseline: Baseline,
    state: State,
    epochs: float,
    seed: int,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[nn.Module, dict[str, dict[str, float]]]:
    """The final fine-tune, and the one look at the test split.

    Args:
        baseline: The unpruned network and its data.
        state: The best network; it is left as it is.
        epochs: As for :func:`finish`.
        seed: As for :func:`finish`.
        progress: As for :func:`finish`.

    Returns:
        The fine-tuned network; and for ``validation`` and ``test`` the accuracies of the
        ``unpruned`` and the ``final`` one, for validation also ``after_search``.

    Raises:
        ValueError: A negative number of epochs.
    """
    if not 0 <= epochs < float("inf"):
        raise ValueError(f"final_epochs={epochs} must be 0 or more")
    module = copy.deepcopy(state.module)
    generator = torch.Generator().manual_seed(seed)
    batches = final_batches(baseline, epochs)
    train(module, baseline.train_split, batches, generator, FINAL_TUNING, baseline.module, progress)
    splits = {"validation": baseline.dataset.validation, "test": baseline.dataset.test}
    modules: dict[str, nn.Module] = {"unpruned": baseline.module, "final": module}
    accuracy = {
        name: {which: split_accuracy(m, split, baseline.device) for which, m in modules.items()}
        for name, split in splits.items()
    }
    accuracy["validation"]["after_search"] = split_accuracy(
        state.module, splits["validation"], baseline.device
    )
    return module, accuracy


def finish(
    baseline: Baseline,
    state: State,
    folder: Path,
    epochs: float,
    seed: int,
    facts: Mapping[str, Any],
    target: Target | None = None,
    progress: Callable[[int, float], None] | None = None,
    draw: Callable[[Mapping[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Fine-tune the best network, read the test split once, export.

    Args:
        baseline: The unpruned network and its data.
        state: The best network.
        folder: For the files of :func:`prune_gym.export.export_network`.
        epochs: Of the final fine-tune with distillation from the unpruned network; 0 for none.
        seed: Of its images' order and augmentation.
        facts: More for the report.
        target: What was wanted of the network; the report says what is reached.
        progress: Called after each mini-batch with its number and loss.
        draw: Called with the report before it is written: who finds ``report.json`` finds all.

    Returns:
        The report, as written to ``report.json``.

    Raises:
        ValueError: A negative number of epochs.
        ExportError: An exported file disagrees with the network.
    """
    module, accuracy = fine_tuned(baseline, state, epochs, seed, progress)
    full, costs, left = baseline.costs.of(), state.costs, state.counts()
    codes = {name: count for name, count in left.items() if name not in baseline.geometry.counts()}
    if target is not None and target.wanted:
        # Accuracy of the network that is exported, against the unpruned one's on the same images.
        drop = accuracy["validation"]["unpruned"] - accuracy["validation"]["final"]
        facts = {**facts, "target": target.report(costs, target.baseline_accuracy - drop)}
    report = {
        "dataset": baseline.dataset.name,
        "architecture": baseline.network.architecture,
        "accuracy": accuracy,
        "final_epochs": epochs,
        "objective": baseline.costs.objective,
        "accelerator": baseline.costs.accelerator.name,
        "accelerator_batch": baseline.costs.batch,
        "costs": {"unpruned": full.as_dict(), "final": costs.as_dict()},
        "ratios": {name: value / costs.as_dict()[name] for name, value in full.as_dict().items()},
        "channels": {
            space.name: [left[space.name], space.channels] for space in baseline.network.spaces
        },
        **({"codes": codes} if codes else {}),
        **facts,
    }
    if draw is not None:
        folder.mkdir(parents=True, exist_ok=True)
        draw(report)
    network = replace(state.network(baseline.network), module=module)
    return export_network(folder, network, state.kept, report, baseline.dataset.test)


def summary(report: Mapping[str, Any]) -> str:
    """The report as the few lines that a person reads first."""
    test, costs = report["accuracy"]["test"], report["costs"]
    lines = [f"{'':<22}{'unpruned':>12}{'pruned':>12}{'ratio':>9}"]
    lines.append(
        f"{'test accuracy':<22}{test['unpruned']:>12.2%}{test['final']:>12.2%}"
        f"{100 * (test['final'] - test['unpruned']):>+7.2f} p"
    )
    rows = {
        "params": ("parameters", ",.0f"),
        "macs": ("MACs", ",.0f"),
        "latency_ms": ("latency (ms)", ".3f"),
        "energy_uj": ("energy (uJ)", ".1f"),
        "weight_bytes": ("weights (bytes)", ",.0f"),
        "peak_activation_bytes": ("peak maps (bytes)", ",.0f"),
    }
    for name, (label, form) in rows.items():
        before, after = costs["unpruned"][name], costs["final"][name]
        lines.append(f"{label:<22}{before:>12{form}}{after:>12{form}}{before / after:>8.2f}x")
    if "target" in report:
        lines += report_lines(report["target"])
    return "\n".join(lines)
