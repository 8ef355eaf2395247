"""The end of a run: fine-tune the best network, read the test split once, export."""

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from prune_gym import manifest
from prune_gym.costs import StepCosts
from prune_gym.envs import PruningEnv, render
from prune_gym.envs.baseline import Baseline
from prune_gym.envs.state import State
from prune_gym.errors import ExportError, PruneGymError
from prune_gym.export import export_network
from prune_gym.pruning.saved import read_description, save_network
from prune_gym.runs import checkpoint
from prune_gym.runs import folder as files
from prune_gym.runs.checkpoint import load_best
from prune_gym.runs.compute import Compute, FinalTuning, check_spent, epoch_macs
from prune_gym.runs.config import RunConfig
from prune_gym.runs.records import Accuracies, Accuracy, Report, Setup, Spending
from prune_gym.training import TrainingOptions, split_accuracy, train

FINAL_TUNING = TrainingOptions(
    learning_rate=0.05, schedule="one_cycle", distillation=0.7, temperature=4.0
)
"""Options of a final fine-tune of a given number of epochs."""
BUDGET_TUNING = TrainingOptions(learning_rate=0.1, schedule="one_cycle")
"""Options of a final fine-tune that has the rest of a budget.

A teacher's forward passes cost more than the training of a student with a quarter of its MACs:
with everything counted, more epochs and a higher learning rate are better (this project's choice,
measured on ResNet-20 and VGG-16 at a quarter of the MACs and 1 and 2 epoch-equivalents).
"""
FINE_TUNED = "final_epochs"
"""Entry of a network's description after the final fine-tune."""


def finish(
    folder: Path,
    env: PruningEnv,
    best: State,
    setup: Setup,
    config: RunConfig,
    search_macs: int,
    quiet: bool = False,
    export: bool = True,
) -> Report:
    """Fine-tune the best network, read the test split once, export it to ``RUN/best``.

    Args:
        folder: Folder of the run.
        env: Environment of the run.
        best: See :func:`fine_tune`.
        setup: What the run was started with.
        config: Length and seed of the final fine-tune: its budget, or its epochs.
        search_macs: MACs that the search took.
        quiet: Whether to hide the progress bar.
        export: Whether to export the network. Without, it is only saved
            (:func:`prune_gym.pruning.saved.save_network`).

    Returns:
        The report, as written to ``best/report.json``.

    Raises:
        ExportError: If the network cannot be exported; its weights and the report are written.
        PruneGymError: If the search took more than the whole budget.
    """
    started = time.monotonic()
    baseline, target, epoch = env.baseline, folder / files.BEST, epoch_of(env.baseline)
    if config.budget is not None:
        check_spent(config.budget, search_macs, epoch, str(folder))
    length = final_tuning(baseline, best.costs, config, search_macs)
    batches, epochs = length.batches, config.final_epochs
    if epochs is None:
        epochs = epochs_of(baseline, batches)
    with tqdm(total=batches, desc="final fine-tune", disable=quiet or not batches) as bar:

        def progress(batch: int, loss: float) -> None:
            bar.update(1)
            bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)

        options = final_options(config)
        module, validation, test = fine_tune(baseline, best, epochs, config.seed, options, progress)
    network = replace(best.network(baseline.network), module=module)
    differences, failure, facts = {}, None, {FINE_TUNED: epochs}
    if export:
        try:
            differences = export_network(target, network, best.kept, baseline.dataset.test, facts)
        except ExportError as error:  # the weights were saved before
            failure = error
    else:
        save_network(target, network, best.kept, facts)
    title = f"test accuracy {test.final:.3f} (unpruned {test.unpruned:.3f})"
    render.picture(best, baseline, env.visited, target / "network.png", title)
    manifest.seal(target)
    left = best.counts()
    report = Report(
        setup=setup,
        accuracy=Accuracies(validation, test),
        costs=best.costs,
        channels={space.name: left[space.name] for space in baseline.network.spaces},
        codes={
            name: count for name, count in left.items() if name not in baseline.geometry.counts()
        },
        final_epochs=epochs,
        final_seed=config.seed,
        search=Spending.of(files.read_episodes(folder)),
        compute=Compute(epoch, search_macs, length.tuning, length.teacher),
        differences=differences,
        final_seconds=round(time.monotonic() - started, 3),
    )
    # Written last: a folder with a report has all files.
    files.write_report(folder, report)
    if failure is not None:
        raise ExportError(f"{failure} Weights and report are in {str(target)!r}.") from failure
    return report


def load_searched(folder: Path, env: PruningEnv) -> State:
    """The best network of a search, for the final fine-tune.

    If an earlier one was killed after it had replaced the network, it comes from the checkpoint.

    Raises:
        PruneGymError: If no episode was finished, or there is no checkpoint.
    """
    best = load_best(folder, env)
    if not read_description(folder / files.BEST).final_epochs:
        return best
    kept = checkpoint.find(folder)
    if kept is None:
        raise PruneGymError(
            f"{str(folder)!r} was killed while it wrote the fine-tuned network, and has no "
            f"checkpoint. Search again with: prune-gym train --resume {folder}"
        )
    return checkpoint.load_state(kept / files.BEST, env)


def final_tuning(
    baseline: Baseline, own: StepCosts, config: RunConfig, search_macs: int
) -> FinalTuning:
    """The length of the final fine-tune of a network.

    Args:
        baseline: Unpruned network with its data.
        own: Costs of the pruned network.
        config: Budget of the run, or epochs of the final fine-tune.
        search_macs: MACs that the search took.
    """
    size = _size(baseline)
    if config.budget is not None:
        return FinalTuning.within(config.budget * epoch_of(baseline) - search_macs, size, own)
    assert config.final_epochs is not None
    batches = _batches(baseline, config.final_epochs)
    return FinalTuning.of(batches, size, own, baseline.costs.of())


def _batches(baseline: Baseline, epochs: float) -> int:
    return round(epochs * len(baseline.train_split) / _size(baseline))


def _size(baseline: Baseline) -> int:
    """Images of a mini-batch; a smaller split is a single mini-batch."""
    return min(FINAL_TUNING.batch_size, len(baseline.train_split))


def final_options(config: RunConfig) -> TrainingOptions:
    """The options of a run's final fine-tune."""
    return FINAL_TUNING if config.budget is None else BUDGET_TUNING


def epochs_of(baseline: Baseline, batches: int) -> float:
    """Length of a final fine-tune in epochs, from its number of mini-batches."""
    return batches * _size(baseline) / len(baseline.train_split)


def epoch_of(baseline: Baseline) -> int:
    """MACs of an epoch-equivalent on a baseline's data."""
    return epoch_macs(baseline.costs.of().macs, len(baseline.train_split))


def fine_tune(
    baseline: Baseline,
    best: State,
    epochs: float,
    seed: int,
    options: TrainingOptions,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[nn.Module, Accuracy, Accuracy]:
    """The final fine-tune, and its accuracies. The unpruned network is the teacher, if any.

    Args:
        baseline: Unpruned network with its data.
        best: State of the best network, which is not changed.
        epochs: Epochs of the fine-tuning; 0 for none.
        seed: Seed of the image order and augmentation.
        options: Options of the training, see :func:`final_options`.
        progress: Function to call after each mini-batch with its number and loss.

    Returns:
        The fine-tuned network, its accuracies on the validation split and on the test split.
    """
    module = copy.deepcopy(best.module)
    generator = torch.Generator().manual_seed(seed)
    batches = _batches(baseline, epochs)
    normalize, split = baseline.network.normalize, baseline.train_split
    train(
        module,
        split,
        batches,
        generator,
        options,
        baseline.module if options.distillation else None,
        progress,
        normalization=normalize,
    )

    def accuracy(which: nn.Module, split: str) -> float:
        images = getattr(baseline.dataset, split)
        return split_accuracy(which, images, baseline.device, normalize)

    before = baseline.module
    validation = Accuracy(
        accuracy(before, "validation"),
        accuracy(module, "validation"),
        accuracy(best.module, "validation"),
    )
    return module, validation, Accuracy(accuracy(before, "test"), accuracy(module, "test"))
