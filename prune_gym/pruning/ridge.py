"""Ridge regression towards the present weights, in float64 and in bounded memory.

For inputs X (rows x f), wanted outputs Y (rows x o) and weights W (f x o), the solution is::

    W + (X'X + s I)^-1 X'(Y - X W)       primal, f x f
    W + X'(X X' + s I)^-1 (Y - X W)      dual, rows x rows

Both are the same matrix (Hoerl and Kennard 1970, "Ridge Regression", centred at W; the dual is that
of Saunders et al. 1998, "Ridge Regression Learning Algorithm in Dual Variables"). The
dual is smaller where a layer has more inputs than sampled rows, as a dense layer after a flatten.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LARGEST = 2**25
"""Largest number of elements of a matrix in a refit (256 MiB in float64).

This holds for the system, for the inputs of the sampled rows that are in memory at a time, and for
the weights that are solved at a time.
"""


@dataclass(frozen=True)
class Plan:
    """How the system of a layer is solved.

    Args:
        size: Inputs of each output: the inputs of a group, and 1 for a bias.
        groups: Number of groups, each with a system of its own.
        rows: Number of rows that are used.
        dual: Whether the dual is solved.
    """

    size: int
    groups: int
    rows: int
    dual: bool

    @classmethod
    def of(cls, size: int, groups: int, rows: int) -> "Plan":
        """The plan for a layer with ``rows`` sampled rows: the smaller system within ``LARGEST``.

        If both systems are too large, the dual takes fewer rows.
        """
        if size <= rows and groups * size * size <= LARGEST:
            return cls(size, groups, rows, dual=False)
        most = min(math.isqrt(LARGEST), LARGEST // (groups * size))
        return cls(size, groups, max(1, min(rows, most)), dual=True)

    def macs(self, outputs: int) -> int:
        """Nominal MACs of a layer's systems: rows x inputs x (side of the system + outputs)."""
        side = self.rows if self.dual else self.size
        return self.rows * self.size * (self.groups * side + outputs)


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's inputs, or of those of one group, float64.

    Args:
        gram: Products of inputs with inputs, shape (inputs, inputs).
        cross: Products of inputs with wanted outputs, shape (inputs, outputs).
        rows: Number of rows in the sums.
        bias: Whether the last input is the constant 1.
    """

    gram: Tensor
    cross: Tensor
    rows: int
    bias: bool

    def of_inputs(self, keep: npt.NDArray[np.bool_]) -> "Moments":
        """The exact moments of some inputs.

        Args:
            keep: Inputs to keep. Shape (input channels,), or (input features,) for a dense layer;
                the moments may have several inputs for each of these slots.
        """
        repeat = (len(self.gram) - self.bias) // keep.size
        kept = np.repeat(keep, repeat)
        if self.bias:
            kept = np.append(kept, True)
        index = torch.from_numpy(np.flatnonzero(kept)).to(self.gram.device)
        return Moments(self.gram[index[:, None], index], self.cross[index], self.rows, self.bias)

    def of_outputs(self, index: Tensor) -> "Moments":
        """The moments for some outputs, by their indices."""
        return Moments(self.gram, self.cross[:, index.to(self.cross.device)], self.rows, self.bias)


class Primal:
    """The system of the inputs.

    Args:
        moments: Moments of the inputs.
        ridge: Strength of the regularisation, relative to the inputs' mean square.
    """

    def __init__(self, moments: Moments, ridge: float) -> None:
        self._moments = moments
        self._factor = _factor(moments.gram.clone(), moments.gram.diagonal().mean(), ridge)

    def solve(self, weights: Tensor, outputs: slice) -> Tensor:
        """The solution for some outputs.

        Args:
            weights: Their present weights, shape (outputs, inputs), float64.
            outputs: Columns of the wanted outputs.

        Returns:
            Their new weights, shape (outputs, inputs), float64.
        """
        old = weights.T
        residual = self._moments.cross[:, outputs] - self._moments.gram @ old
        return (old + torch.cholesky_solve(residual, self._factor)).T


class Dual:
    """The system of the rows.

    Args:
        inputs: Inputs, shape (rows, inputs), float64.
        wanted: Wanted outputs, shape (rows, outputs).
        ridge: Strength of the regularisation, relative to the inputs' mean square.
    """

    def __init__(self, inputs: Tensor, wanted: Tensor, ridge: float) -> None:
        self._inputs, self._wanted = inputs, wanted
        gram = inputs @ inputs.T
        self._factor = _factor(gram, gram.diagonal().sum() / inputs.shape[1], ridge)

    def solve(self, weights: Tensor, outputs: slice) -> Tensor:
        """The solution for some outputs; see :meth:`Primal.solve`."""
        residual = self._wanted[:, outputs].double() - self._inputs @ weights.T
        return weights + torch.cholesky_solve(residual, self._factor).T @ self._inputs


def damping(energy: Tensor, ridge: float) -> Tensor:
    """The s of a system: ``ridge`` times the inputs' mean energy, never zero."""
    return ridge * energy.clamp_min(1e-12)


def _factor(gram: Tensor, energy: Tensor, ridge: float) -> Tensor:
    """Cholesky factor of a system; ``gram`` is overwritten.

    ``energy`` is the sum of the squares of an input, averaged over the inputs. It keeps the system
    positive definite. If all inputs are zero, nothing changes.
    """
    gram.diagonal().add_(damping(energy, ridge))
    return torch.linalg.cholesky(gram)
