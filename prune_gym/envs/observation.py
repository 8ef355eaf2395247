"""Observations: padded 1-D arrays with finite bounds.

What is shown of a tied space is the whole space's: norms and distances are those of the filters of
all producers, concatenated; scale and shift are summed over its batch norms, as the network sums
the producers' outputs; sizes are means over the producers, since the first one (in a ResNet the
stem, or a shortcut) is like none of the others. Only ``activation`` is measured at one place, the
last follower.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from torch import nn

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.state import State
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.batch_norm import BatchNorm, scale_of, shift_of
from prune_gym.pruning.rules import Conv, filters

STATISTICS = ("l1", "l2", "distance", "bn_scale", "bn_shift", "activation")
LAYER_FEATURES = (
    "index",
    "tied",
    "channels",
    "inputs",
    "height",
    "width",
    "stride",
    "kernel",
    "cost_share",
    "reduced",
    "rest",
    "last_keep",
    "budget_left",
)
CODES_ALIVE, ERROR = "codes_alive", "reconstruction_error"
BOUND = 10.0
Array = npt.NDArray[np.float32]


def filter_rows(module: nn.Module, space: ChannelSpace) -> torch.Tensor:
    """The filters of a space, all producers concatenated: shape (channels, weights of a channel).

    The space has the network's present channels.
    """
    modules = dict(module.named_modules())
    rows = []
    for name in space.producers:
        layer = modules[name]
        if isinstance(layer, Conv | nn.Linear):
            rows.append(_of_space(space, name, filters(layer)))
    return torch.cat(rows, dim=1).cpu()


def _of_space(space: ChannelSpace, producer: str, rows: torch.Tensor) -> torch.Tensor:
    """Select the rows of a producer that are the space's: shape (channels, weights of a channel).

    ``rows`` has one row per output of the producer.
    """
    return rows[space.slots(producer, "out", len(rows))].flatten(1)


class Observer:
    """Makes the observations of an environment.

    Args:
        baseline: The unpruned network and its costs.
        visited: Unpruned spaces that an episode visits.
        kind: Kind of observation, ``"features"`` (statistics of each filter) or ``"weights"``
            (the filters).
    """

    def __init__(self, baseline: Baseline, visited: Sequence[ChannelSpace], kind: str) -> None:
        self.baseline, self.visited, self.kind = baseline, tuple(visited), kind
        self.width = max(space.channels for space in visited)
        self.row = max(filter_rows(baseline.module, space).shape[1] for space in visited)
        self._layers = {layer.name: layer for layer in baseline.geometry.layers}

    def observation_space(self) -> spaces.Dict:
        """The space of the observations."""
        n = self.width
        entries: dict[str, spaces.Space] = {
            "action_mask": spaces.MultiBinary(n),
            "layer": spaces.Box(0.0, 1.0, (len(LAYER_FEATURES),), np.float32),
            "progress": spaces.Box(0.0, 1.0, (1,), np.float32),
        }
        if self.kind == "weights":
            entries["weights"] = spaces.Box(-BOUND, BOUND, (n * self.row,), np.float32)
        else:
            for name in STATISTICS:
                entries[name] = spaces.Box(-BOUND, BOUND, (n,), np.float32)
        return spaces.Dict(entries)

    def action_mask(self, state: State) -> npt.NDArray[np.int8]:
        """Mask of the next space, shape (n_max,): 1 for each filter, 0 for padding."""
        mask = np.zeros(self.width, np.int8)
        if state.position < len(self.visited):
            mask[: self._space(state).channels] = 1
        return mask

    def _space(self, state: State) -> ChannelSpace:
        """The next space, with its present channels."""
        return state.space(self.visited[state.position].name)

    def observe(self, state: State, budget_left: float) -> dict[str, npt.NDArray]:
        """The observation of a state; after the last space, filters and layer are zeros.

        ``budget_left`` is the remaining share of the search budget, 0 to 1.
        """
        done = state.position / len(self.visited)
        result: dict[str, npt.NDArray] = {
            "action_mask": self.action_mask(state),
            "layer": np.zeros(len(LAYER_FEATURES), np.float32),
            "progress": np.array([done], np.float32),
        }
        last = state.position >= len(self.visited)
        if not last:
            result["layer"] = self._layer(state, budget_left)
        if self.kind == "weights":
            rows = np.zeros((self.width, self.row), np.float32)
            if not last:
                weights = self._weights(state)
                rows[: weights.shape[0], : weights.shape[1]] = weights
            result["weights"] = rows.ravel()
            return result
        statistics = {} if last else self._statistics(state)
        for name in STATISTICS:
            padded = np.zeros(self.width, np.float32)
            values = statistics.get(name, padded[:0])
            padded[: len(values)] = values
            result[name] = padded
        return result

    def _weights(self, state: State) -> Array:
        """Filters in units of their standard deviation, in the unpruned network's layout."""
        space = self._space(state)
        modules = dict(state.module.named_modules())
        parts = []
        for name in space.producers:
            layer = modules[name]
            if not isinstance(layer, Conv | nn.Linear):
                continue
            rows = filters(layer).cpu()
            shape = self._layers[name]
            kept = state.kept_slots(self.baseline.network, name, "in", shape.in_channels)
            # A filter reads one group; all groups have the same inputs left, or none.
            kept = np.logical_or.reduce(kept.reshape(shape.groups, -1))
            if not kept.all():
                full = torch.zeros(len(rows), len(kept), rows.shape[1] // int(kept.sum()))
                full[:, torch.from_numpy(kept)] = rows.unflatten(1, (int(kept.sum()), -1))
                rows = full.flatten(1)
            parts.append(_of_space(space, name, rows))
        rows = torch.cat(parts, dim=1)
        scale = rows.std().clamp_min(1e-8)
        return (rows / scale).clamp(-BOUND, BOUND).numpy()

    def _statistics(self, state: State) -> dict[str, Array]:
        """Statistics of each filter, divided by their mean absolute value in the layer."""
        space = self._space(state)
        rows = filter_rows(state.module, space)
        modules = dict(state.module.named_modules())
        norms = [
            (modules[name], space.slots(name, "out", modules[name].num_features))
            for name in space.followers
            if isinstance(modules[name], BatchNorm)
        ]
        none = torch.zeros(space.channels)
        raw = {
            "l1": rows.abs().sum(1),
            "l2": rows.norm(dim=1),
            "distance": torch.cdist(rows, rows).sum(1),
            "bn_scale": sum((scale_of(norm)[slots].mean(1) for norm, slots in norms), none),
            "bn_shift": sum((shift_of(norm)[slots].mean(1) for norm, slots in norms), none),
            "activation": torch.from_numpy(state.activation),
        }
        return {
            name: (values / values.abs().mean().clamp_min(1e-8))
            .clamp(-BOUND, BOUND)
            .numpy()
            .astype(np.float32)
            for name, values in raw.items()
        }

    def _layer(self, state: State, budget_left: float) -> Array:
        """AMC's layer features (He et al. 2018, section 3.1), shares of cost, and the budget.

        ``cost_share`` counts the layers whose costs the step changes, and ``rest`` those that later
        steps change; a layer between two spaces counts once.
        """
        costs, baseline = self.baseline.costs, self.baseline.costs.of()
        objective = costs.objective
        last = state.history[-1].mask.mean() if state.history else 1.0
        values = (
            state.position / len(self.visited),
            float(self.visited[state.position].tied),
            *self._sizes[state.position],
            self._macs_share(self.visited[state.position : state.position + 1]),
            1 - state.costs.of(objective) / baseline.of(objective),
            self._macs_share(self.visited[state.position + 1 :]),
            float(last),
            budget_left,
        )
        return np.clip(np.array(values, np.float32), 0, 1)

    @cached_property
    def _sizes(self) -> list[tuple[float, ...]]:
        """For each visited space: channels, inputs, height, width, stride, kernel.

        They are relative to the largest of the network.
        """
        sizes = {
            name: (
                *(layer.out_channels, layer.in_channels, *layer.in_size),
                *(max(layer.stride), layer.kernel[0]),
            )
            for name, layer in self._layers.items()
        }
        most = np.max(list(sizes.values()), axis=0)
        most[-1] = max(max(layer.kernel) for layer in self._layers.values())
        return [
            tuple(np.mean([sizes[n] for n in space.producers if n in sizes], axis=0) / most)
            for space in self.visited
        ]

    def _macs_share(self, spaces: Sequence[ChannelSpace]) -> float:
        """The share of the network's MACs in the layers whose costs depend on these spaces."""
        names = {name for space in spaces for name in self._changed_layers(space)}
        return sum(self._macs.get(name, 0) for name in names) / max(sum(self._macs.values()), 1)

    @cached_property
    def _macs(self) -> dict[str, int]:
        counts = self.baseline.geometry.counts()
        return {name: layer.macs(counts) for name, layer in self._layers.items()}

    def _changed_layers(self, space: ChannelSpace) -> tuple[str, ...]:
        return space.producers + space.consumers


class ALFObserver(Observer):
    """Adds the results for the convolutions visited so far (ALF mode).

    Both entries have one number for each visited space. ``codes_alive`` is the share of remaining
    codes (1 before the convolution's step); ``reconstruction_error`` is the squared error of the
    autoencoder's filters relative to their squared size (0 before the convolution's step).
    """

    def observation_space(self) -> spaces.Dict:
        """See :meth:`Observer.observation_space`."""
        entries = dict(super().observation_space().spaces)
        shape = (len(self.visited),)
        entries[CODES_ALIVE] = spaces.Box(0.0, 1.0, shape, np.float32)
        entries[ERROR] = spaces.Box(0.0, BOUND, shape, np.float32)
        return spaces.Dict(entries)

    def observe(self, state: State, budget_left: float) -> dict[str, npt.NDArray]:
        """See :meth:`Observer.observe`."""
        result = super().observe(state, budget_left)
        alive, errors = np.ones(len(self.visited), np.float32), np.zeros(len(self.visited))
        for place, record in enumerate(state.history):
            assert record.block is not None
            alive[place] = record.mask.mean()
            errors[place] = record.block.reconstruction_error
        result[CODES_ALIVE] = alive
        result[ERROR] = errors.clip(0, BOUND).astype(np.float32)
        return result

    def _space(self, state: State) -> ChannelSpace:
        # Before its step a convolution has all of its filters.
        return self.visited[state.position]

    def _changed_layers(self, space: ChannelSpace) -> tuple[str, ...]:
        return space.producers
