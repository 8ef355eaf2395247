"""The episode so far, as a table or as a chart."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.state import State
from prune_gym.files import write_atomically
from prune_gym.pruning import ChannelSpace


def table(state: State, baseline: Baseline, visited: Sequence[ChannelSpace]) -> str:
    """A line for each visited space, and the costs of the whole network."""
    lines = [f"{'space':<12}{'kept':>9}{'batches':>9}{'accuracy':>10}{'latency':>13}{'reward':>9}"]
    for space, record in zip(visited, state.history, strict=False):
        kept = f"{record.mask.sum()}/{space.channels}"
        lines.append(
            f"{space.name:<12}{kept:>9}{record.batches:>9}{record.accuracy:>10.4f}"
            f"{record.costs.latency_ms:>10.3f} ms{record.reward.total:>+9.3f}"
        )
    left = state.counts()
    for space in visited[len(state.history) :]:
        # A loaded network has no history, but the number of its filters is known.
        whole = state.position == len(visited)
        kept = str(left.get(space.name, space.channels)) if whole else "-"
        lines.append(f"{space.name:<12}{f'{kept}/{space.channels}':>9}")
    full, costs = baseline.costs.of(), state.costs
    lines.append(
        f"accuracy on {len(baseline.eval_labels)} validation images {state.accuracy:.4f} "
        f"(unpruned {baseline.accuracy:.4f}); "
        f"params {costs.params:,} ({full.params / costs.params:.2f}x), "
        f"MACs {costs.macs:,} ({full.macs / costs.macs:.2f}x), "
        f"latency {costs.latency_ms:.3f} ms ({full.latency_ms / costs.latency_ms:.2f}x), "
        f"energy {costs.energy_uj:.0f} uJ ({full.energy_uj / costs.energy_uj:.2f}x)"
    )
    return "\n".join(lines)


def picture(
    state: State,
    baseline: Baseline,
    visited: Sequence[ChannelSpace],
    path: Path | None = None,
    accuracy: str | None = None,
) -> npt.NDArray[np.uint8]:
    """A bar chart of the kept filters of each space and the accelerator's cycles of each layer.

    Args:
        state: State of the episode.
        baseline: Unpruned network.
        visited: Visited spaces.
        path: PNG file to write; None: no file.
        accuracy: Text about the accuracy for the title; None: the accuracies on the validation
            subset.

    Returns:
        Pixels of shape (height, width, 3).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1)
    names = [space.name for space in visited]
    left = state.counts()
    # A convolution that was not compressed, or was merged again, has all of its filters.
    counts = [left.get(space.name, space.channels) for space in visited]
    _bars(upper, names, [space.channels for space in visited], counts)
    upper.set_ylabel("filters")
    upper.legend(frameon=False, loc="upper left")
    if accuracy is None:
        accuracy = f"accuracy {state.accuracy:.3f} (unpruned {baseline.accuracy:.3f})"
    upper.set_title(
        f"{accuracy}, {baseline.costs.of().latency_ms / state.costs.latency_ms:.2f}x faster on "
        f"{baseline.costs.accelerator.name}"
    )
    before = baseline.costs.layer_cycles()
    after = _by_unpruned_layer(
        before, baseline.cost_model(state.module, state.spaces).layer_cycles(left)
    )
    _bars(lower, list(before), list(before.values()), list(after.values()))
    lower.set_ylabel("cycles")
    canvas.draw()
    if path is not None:
        write_atomically(path, lambda temporary: figure.savefig(temporary))
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _by_unpruned_layer(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    """Cycles by unpruned layer; those of codes and expansion are added up."""
    result = dict.fromkeys(before, 0)
    for name, cycles in after.items():
        result[name if name in before else name.rpartition(".")[0]] += cycles
    return result


def _bars(axes: object, names: list[str], before: list[int], after: list[int]) -> None:
    """Draw wide pale bars for the unpruned network and narrow dark ones for the present one."""
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    places = np.arange(len(names))
    axes.bar(places, before, color="#c9d6e3", label="unpruned")
    axes.bar(places, after, color="#1f5a94", width=0.55, label="now")
    axes.set_xticks(places, names, rotation=60, ha="right", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
