"""Figures of single networks: kept filters, and costs of the layers."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure

from benchmarks.groups import Row
from benchmarks.metrics import best_run, finished
from benchmarks.results import Result
from hw_sim import OBJECTIVES, NetworkCost, evaluate_network
from hw_sim.plot import cost_figure
from prune_gym import networks
from prune_gym.costs import load_accelerator
from prune_gym.errors import PruneGymError
from prune_gym.pruning import Geometry
from prune_gym.pruning.saved import read_description
from prune_gym.runs.folder import BEST

# With more layers than this, only the pruned network is drawn.
MANY_LAYERS = 30


class CannotDrawError(PruneGymError):
    """The costs of the layers cannot be computed from the record."""


def filters_figure(label: str, run: Result) -> Figure:
    """Kept and pruned filters of each channel space, as bars."""
    full, channels = run.setup.channels, finished(run).channels
    names, kept = list(channels), list(channels.values())
    gone = [full[name] - channels[name] for name in names]
    figure = Figure(figsize=(max(6.0, 1.5 + 0.5 * len(names)), 3.4), layout="constrained")
    axes = figure.subplots()
    axes.bar(names, kept, color="#0072B2", label="kept")
    axes.bar(names, gone, bottom=kept, color="#dddddd", label="pruned")
    for place, (left, removed) in enumerate(zip(kept, gone, strict=True)):
        axes.annotate(str(left), (place, left + removed), ha="center", va="bottom", fontsize=8)
    axes.set_ylabel("filters")
    axes.set_title(f"{label}, seed {run.seed}", fontsize=10)
    axes.tick_params(axis="x", rotation=60, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylim(0, 1.1 * max(full.values()))
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return figure


def kept_figure(rows: Sequence[Row]) -> Figure:
    """Share of filters that each agent's best network keeps in each channel space, as a map."""
    runs = [best_run([row])[1] for row in rows]
    names = list(finished(runs[0]).channels)
    pairs = [
        [(finished(run).channels[name], run.setup.channels[name]) for name in names] for run in runs
    ]
    shares = [[kept / full for kept, full in line] for line in pairs]
    size = (max(6.5, 2.5 + 0.5 * len(names)), 1.6 + 0.34 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for y, line in enumerate(pairs):
        for x, (kept, full) in enumerate(line):
            colour = "white" if kept / full < 0.55 else "black"
            axes.text(x, y, str(kept), ha="center", va="center", fontsize=8, color=colour)
    labels = [f"{row.label}, seed {run.seed}" for row, run in zip(rows, runs, strict=True)]
    axes.set_yticks(range(len(rows)), labels, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="share of filters kept", fraction=0.03)
    return figure


def layers_figure(label: str, run: Result) -> Figure:
    """Energy by level and latency of every layer, unpruned and pruned.

    Raises:
        CannotDrawError: The costs are not those of the record, or the network is not known here.
    """
    unpruned, pruned = layer_costs(run)
    name = f"{label}, seed {run.seed}"
    if len(pruned.layers) > MANY_LAYERS:
        return cost_figure([pruned], [name])
    return cost_figure([unpruned, pruned], ["unpruned", name])


def layer_costs(run: Result) -> tuple[NetworkCost, NetworkCost]:
    """Costs of the layers of a run's network, before and after the pruning.

    They are computed from the kept channels, and checked against the recorded totals.

    Raises:
        CannotDrawError: They differ, or accelerator or network are not known here.
    """
    report, setup = finished(run), run.setup
    given = setup.environment
    # A record does not hold the number of classes; the tasks have ten.
    classes, size = 10, given.image_size
    if run.folder is not None:
        description = read_description(run.folder / BEST)
        classes, (_, size, _) = description.num_classes, description.input_shape
    try:
        accelerator = load_accelerator(given.accelerator)
        name = str(given.network)
        if run.folder is None and name not in networks.names():
            raise CannotDrawError(f"the network {name!r} is not known here")
        networks.check_trusted(name, run.source)
        with torch.random.fork_rng(devices=[]):
            network = networks.build(name, classes, size)
        geometry = Geometry(network.module, network.spaces, network.input_shape)
        objective = given.objective if given.objective in OBJECTIVES else "latency"
        unpruned, pruned = (
            evaluate_network(
                geometry.accelerator_layers(counts, given.accelerator_batch), accelerator, objective
            )
            for counts in (None, dict(report.channels))
        )
    except (PruneGymError, ValueError) as error:
        raise CannotDrawError(str(error)) from error
    if accelerator.fingerprint != setup.hashes["accelerator"]:
        raise CannotDrawError(f"the accelerator {given.accelerator!r} has changed since")
    pairs = {"unpruned": (unpruned, setup.costs), "final": (pruned, report.costs)}
    for which, (cost, then) in pairs.items():
        if (cost.cycles, cost.energy_uj) != (then.cycles, then.energy_uj):
            raise CannotDrawError(
                f"the {which} network takes {cost.cycles} cycles here, {then.cycles} in the record"
            )
    return unpruned, pruned
