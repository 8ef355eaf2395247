"""The costs of all channel counts of a network, tabulated once and looked up by array."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw_sim.accelerator import Accelerator
from hw_sim.layer import ConvLayer
from hw_sim.limits import check_range
from hw_sim.machine import machine
from hw_sim.model import search
from hw_sim.row_stationary import OBJECTIVES, search_all


@dataclass(frozen=True)
class CostTable:
    """Cycles and energy of every channel count that pruning can leave in a network.

    Attributes:
        layers: The layers before pruning; their channels are the largest in the table.
        accelerator: The accelerator.
        objective: What each layer's mapping minimises.

    Example:
        >>> layers = [ConvLayer("a", 1, 3, 8, 8, 8, (3, 3), padding=1)]
        >>> table = CostTable.build(layers, Accelerator.preset("eyeriss"))
        >>> table.cycles([[3]], [[8]]).shape
        (1, 1)
    """

    layers: tuple[ConvLayer, ...]
    accelerator: Accelerator
    objective: str
    _starts: NDArray[np.int64]
    _costs: NDArray[np.int64]

    @classmethod
    def build(
        cls,
        layers: Iterable[ConvLayer],
        accelerator: Accelerator,
        objective: str = "latency",
        threads: int = 1,
    ) -> "CostTable":
        """Search the best mapping of every layer with 1..C input channels and 1..M filters.

        Layers that differ in name alone share a part of the table.

        Args:
            layers: The layers before pruning.
            accelerator: The accelerator.
            objective: What each layer's mapping minimises.
            threads: Threads that share the work; the result does not depend on them.

        Raises:
            ValueError: A grouped layer that is not depthwise, or as :func:`hw_sim.search`.
        """
        layers = tuple(layers)
        parts: dict[ConvLayer, int] = {}
        rows: list[ConvLayer] = []
        for layer in layers:
            key = replace(layer, name="")
            if key not in parts:
                parts[key] = len(rows)
                rows += _all_channels(layer)
        starts = [parts[replace(layer, name="")] for layer in layers]
        costs = _search_rows(rows, accelerator, objective, threads)
        costs.setflags(write=False)
        return cls(layers, accelerator, objective, np.array(starts, np.int64), costs)

    def __len__(self) -> int:
        """Shapes in the table."""
        return len(self._costs)

    def cycles(self, in_channels: ArrayLike, out_channels: ArrayLike) -> NDArray[np.int64]:
        """Cycles of each layer for given channel counts.

        Args:
            in_channels: Input channels, shape (..., layers), each in 1..C.
            out_channels: Filters, same shape, each in 1..M; a depthwise layer's equal its inputs.

        Returns:
            Cycles, same shape.

        Raises:
            ValueError: Channels outside the table, or arrays of the wrong shape.
        """
        return self._costs[self._index(in_channels, out_channels), 0]

    def energy_fj(self, in_channels: ArrayLike, out_channels: ArrayLike) -> NDArray[np.int64]:
        """Energy of each layer in fJ; arguments and errors as :meth:`cycles`."""
        return self._costs[self._index(in_channels, out_channels), 1]

    def _index(self, in_channels: ArrayLike, out_channels: ArrayLike) -> NDArray[np.int64]:
        c, m = np.asarray(in_channels), np.asarray(out_channels)
        if c.shape != m.shape or c.shape[-1:] != (len(self.layers),):
            raise ValueError(
                f"in_channels of shape {c.shape} and out_channels of shape {m.shape} must both be "
                f"(..., {len(self.layers)}): one count per layer."
            )
        most_c = np.array([layer.in_channels for layer in self.layers])
        most_m = np.array([layer.out_channels for layer in self.layers])
        depthwise = np.array([_is_depthwise(layer) for layer in self.layers])
        for name, value, most in (("in_channels", c, most_c), ("out_channels", m, most_m)):
            wrong = (value < 1) | (value > most)
            if wrong.any():
                raise ValueError(
                    f"{name}={value[wrong].flat[0]} lies outside the table, which holds 1 to the "
                    f"channels of the unpruned layers ({name} {most.tolist()})."
                )
        if (depthwise & (c != m)).any():
            raise ValueError("A depthwise layer's out_channels must equal its in_channels.")
        row = np.where(depthwise, c - 1, (c - 1) * most_m + m - 1)
        return self._starts + row


def _is_depthwise(layer: ConvLayer) -> bool:
    return layer.groups > 1 and layer.groups == layer.in_channels == layer.out_channels


def _all_channels(layer: ConvLayer) -> list[ConvLayer]:
    """The layer with every smaller number of channels, inputs outermost."""
    if _is_depthwise(layer):
        return [
            replace(layer, in_channels=c, out_channels=c, groups=c)
            for c in range(1, layer.in_channels + 1)
        ]
    if layer.groups > 1:
        raise ValueError(
            f"Layer {layer.name!r}: groups={layer.groups} cannot be tabulated; only dense and "
            "depthwise layers have channel counts that pruning sets freely."
        )
    return [
        replace(layer, in_channels=c, out_channels=m)
        for c in range(1, layer.in_channels + 1)
        for m in range(1, layer.out_channels + 1)
    ]


def _search_rows(
    rows: list[ConvLayer], accelerator: Accelerator, objective: str, threads: int
) -> NDArray[np.int64]:
    """(cycles, energy) of each layer."""
    search(rows[0], accelerator, objective)  # refuses an unknown objective
    if accelerator.dataflow != "row_stationary":
        costs = [search(layer, accelerator, objective) for layer in rows]
        return np.array([(cost.cycles, cost.energy_fj) for cost in costs], np.int64)
    for layer in rows:
        check_range(layer, accelerator)
    shapes = np.array([layer.shape for layer in rows], np.int64)
    h, index = machine(accelerator), OBJECTIVES.index(objective)
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        chunks = np.array_split(shapes, 4 * max(threads, 1))
        found = np.concatenate(list(pool.map(lambda chunk: search_all(chunk, h, index), chunks)))
    for row in np.flatnonzero(found[:, 0] < 0):
        search(rows[row], accelerator, objective)  # raises, saying why nothing fits
    return found
