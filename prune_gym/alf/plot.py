"""Plot the history of a training with ALF."""

from pathlib import Path
from typing import Any

import numpy as np

from prune_gym.alf.history import History
from prune_gym.files import write_atomically


def plot_history(history: History, path: Path) -> Path:
    """Plot the mask entries over time and the share of codes alive in each layer.

    Args:
        history: History of the training, with at least one entry.
        path: Path of the PNG file.

    Returns:
        ``path``.

    Raises:
        ValueError: If the history is empty.
    """
    if not len(history):
        raise ValueError("the history is empty; train the network before plotting")
    from matplotlib.figure import Figure

    masks = {name: values.numpy() for name, values in history.tensors().items()}
    names = list(masks)
    shown = [names[0], names[len(names) // 2], names[-1]] if len(names) > 2 else names
    figure = Figure(figsize=(11, 3.2 + 0.18 * len(names)), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.6, 0.6 + 0.2 * len(names)])
    above, below = parts
    for axes, name in zip(np.atleast_1d(above.subplots(1, len(shown))), shown, strict=True):
        axes.plot(masks[name], color="#0072b2", linewidth=0.7, alpha=0.6)
        axes.set(title=f"mask entries of {name}", xlabel="time of the training", ylabel="M")
        axes.grid(alpha=0.3)
    axes = below.subplots()
    alive = np.stack([(values != 0).mean(axis=1) for values in masks.values()])
    image = axes.imshow(
        alive, aspect="auto", vmin=0, vmax=1, cmap="viridis", interpolation="nearest"
    )
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(title="share of codes alive", xlabel="time of the training")
    figure.colorbar(image, ax=axes, label="codes alive / codes")
    return write_atomically(path, lambda temporary: figure.savefig(temporary, format="png"))
