"""Structured Optimal Brain Surgeon: the loss of a channel after the best refit of what stays.

The layers that read a space (its consumers) lose inputs when a channel is removed. For a consumer
with inputs X (rows x inputs), wanted outputs Y and present weights W, the loss of weights V is::

    |Y - X V|^2 + s |V - W|^2

with the rows, the wanted outputs and the ridge s of the repair (:mod:`prune_gym.pruning.repair`).
With H = X'X + s I and P = H^-1, the best weights are V = P (X'Y + s W). If the weights of a
channel's inputs j must be zero, the loss grows by trace(V_j' (P_jj)^-1 V_j), and V and P become::

    V - P_:j (P_jj)^-1 V_j        P - P_:j (P_jj)^-1 P_j:

This is Hassibi and Stork 1993, "Second Order Derivatives for Network Pruning: Optimal Brain
Surgeon", equation 5, for a group of inputs as in Kurtic et al. 2023, "ZipLM: Inference-Aware
Structured Pruning of Language Models", section 3. The exchanges are those of Meng et al. 2024,
"OSSCAR: One-Shot Structured Pruning in Vision and Language Models with Combinatorial Optimization".

This project's choices: s stays that of all inputs (the repair takes that of the inputs that stay);
the ridge also holds for the weights that are removed; and the loss of a consumer is divided by the
energy |Y|^2 of its wanted outputs, so that the losses of several consumers can be added.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from prune_gym.pruning.repair import LeastSquares
from prune_gym.pruning.ridge import LARGEST, Moments, damping
from prune_gym.pruning.rows import checked_layer, has_rows, layer_inputs, system_size
from prune_gym.pruning.rules import RULES, groups_of
from prune_gym.pruning.spaces import ChannelSpace


@dataclass(frozen=True)
class System:
    """The least-squares system of one consumer, with all channels.

    Args:
        hessian: H, shape (inputs, inputs), float64.
        target: X'Y + s W, shape (inputs, outputs), float64.
        inputs: Inputs of each channel, shape (channels, inputs per channel). Inputs that are in
            none of them, as the bias, are never removed.
        energy: Sum of the squares of the wanted outputs; losses are divided by it.
        rows: Number of rows.
    """

    hessian: Tensor
    target: Tensor
    inputs: Tensor
    energy: float
    rows: int

    @classmethod
    def of(
        cls, moments: Moments, weights: Tensor, inputs: Tensor, energy: float, ridge: float
    ) -> "System":
        """The system of some moments.

        Args:
            moments: Moments of the inputs with each other and with the wanted outputs.
            weights: W, present weights, the bias last, shape (inputs, outputs), float64.
            inputs: See the class; so is ``energy``.
            energy: See the class.
            ridge: Strength of the regularisation, relative to the inputs' mean square.
        """
        strength = damping(moments.gram.diagonal().mean(), ridge)
        hessian = moments.gram.clone()
        hessian.diagonal().add_(strength)
        return cls(hessian, moments.cross + strength * weights, inputs, energy, moments.rows)

    def inverse(self, mask: npt.NDArray[np.bool_]) -> Tensor:
        """P, the inverse of H for the channels that a mask keeps, zero for the others."""
        keep = torch.ones(len(self.hessian), dtype=torch.bool)
        keep[self.inputs[torch.from_numpy(~mask)].flatten().cpu()] = False
        index = keep.nonzero().flatten().to(self.hessian.device)
        factor = torch.linalg.cholesky(self.hessian[index[:, None], index])
        if len(index) == len(keep):
            return torch.cholesky_inverse(factor)
        found = torch.zeros_like(self.hessian)
        found[index[:, None], index] = torch.cholesky_inverse(factor)
        return found

    def share(self, loss: Tensor) -> npt.NDArray[np.float64]:
        """Losses relative to the energy; 0 if nothing but zeros is wanted."""
        found = loss.cpu().numpy().astype(np.float64)
        return found / self.energy if self.energy > 0 else np.zeros_like(found)

    @property
    def macs(self) -> int:
        """Nominal MACs of the moments, the inverse, and the greedy removal of all channels.

        rows x inputs x (inputs + outputs), inputs^2 x (inputs + outputs), and for each channel
        inputs per channel x inputs x (inputs + 2 x outputs): the updates of P and V, and the losses
        of the channels that are left.
        """
        size, outputs = self.target.shape
        channels, each = self.inputs.shape
        removal = each * size * (size + 2 * outputs)
        return (self.rows + size) * size * (size + outputs) + channels * removal


class Removal:
    """Removes channels from a system one by one.

    P is not computed anew. Its changes are a growing factor, so that a removal reads each earlier
    change once, and only the blocks of P that the losses need are updated (a Cholesky
    decomposition of P whose pivots are the removed channels).

    Args:
        system: The system.

    Raises:
        torch.linalg.LinAlgError: If a value of the system is not finite.
    """

    def __init__(self, system: System) -> None:
        self.system, inputs = system, system.inputs
        self._inverse = system.inverse(np.ones(len(inputs), dtype=bool))
        self._weights = self._inverse @ system.target
        self._blocks = _blocks(self._inverse, inputs)
        # P is the inverse with all channels, less the product of the factor with itself.
        self._factor = self._inverse.new_empty(inputs.numel(), len(self._inverse))
        self._removed = 0

    def losses(self, channels: Sequence[int]) -> npt.NDArray[np.float64]:
        """How much the loss grows if one of some channels is removed next, shape (channels,)."""
        index = list(channels)
        found = _losses(self._blocks[index], self._weights[self.system.inputs[index]])
        return self.system.share(found)

    def remove(self, channel: int) -> None:
        """Remove a channel."""
        inputs = self.system.inputs
        own, earlier = inputs[channel], self._factor[: self._removed]
        rows = torch.addmm(self._inverse[own], earlier[:, own].T, earlier, alpha=-1)
        root = torch.linalg.cholesky(self._blocks[channel])
        half = torch.linalg.solve_triangular(root, rows, upper=False)
        part = torch.linalg.solve_triangular(root, self._weights[own], upper=False)
        self._factor[self._removed : self._removed + len(own)] = half
        self._removed += len(own)
        self._weights -= half.T @ part
        self._blocks -= _products(half, inputs)


class Exchange:
    """The exchanges of a removed and a kept channel of a system.

    Args:
        system: The system.
        mask: Mask of the channels, True to keep a channel, shape (channels,).
    """

    def __init__(self, system: System, mask: npt.NDArray[np.bool_]) -> None:
        self.system, self._inverse = system, system.inverse(mask)
        self._weights = self._inverse @ system.target
        self._blocks = _blocks(self._inverse, system.inputs)

    def changes(self, back: int, channels: Sequence[int]) -> npt.NDArray[np.float64]:
        """The change of the loss if a removed channel comes back, and a kept one goes.

        Args:
            back: The removed channel.
            channels: Kept channels, each of which may go.
        """
        hessian, inputs, index = self.system.hessian, self.system.inputs, list(channels)
        own = inputs[back]
        # P grows by U S^-1 U' with U = P H_:j - I_:j and the Schur complement S.
        reads = self._inverse @ hessian[:, own]
        root = torch.linalg.cholesky(hessian[own[:, None], own] - hessian[own] @ reads)
        reads[own] -= torch.eye(len(own), dtype=reads.dtype, device=reads.device)
        half = torch.linalg.solve_triangular(root, reads.T, upper=False)
        part = half @ self.system.target
        blocks = self._blocks[index] + _products(half, inputs[index])
        grown = _losses(blocks, (self._weights + half.T @ part)[inputs[index]])
        return self.system.share(grown - part.square().sum())


def _blocks(inverse: Tensor, inputs: Tensor) -> Tensor:
    """The part P_jj of each channel, shape (channels, inputs per channel, the same)."""
    return inverse[inputs[:, :, None], inputs[:, None, :]]


def _products(half: Tensor, inputs: Tensor) -> Tensor:
    """The part of ``half.T @ half`` of each channel, shaped as :func:`_blocks`."""
    parts = half[:, inputs].movedim(0, 1)
    return torch.bmm(parts.transpose(1, 2), parts)


def _losses(blocks: Tensor, weights: Tensor) -> Tensor:
    """trace(V_j' (P_jj)^-1 V_j) of each channel; ``weights`` are V_j."""
    root = torch.linalg.cholesky(blocks)
    parts: Tensor = torch.linalg.solve_triangular(root, weights, upper=False)
    return parts.square().sum((1, 2))


def obs_order(
    systems: Sequence[System], count: int = 0
) -> tuple[list[int], npt.NDArray[np.float64]]:
    """Remove channels of a space until some are left, each time the one whose removal costs least.

    Args:
        systems: Systems of the space's consumers, whose losses add.
        count: Number of channels that stay.

    Returns:
        The removed channels in the order of their removal (the first of equal ones first), and the
        loss after each removal, above that with all channels, shape (removed channels,).

    Raises:
        torch.linalg.LinAlgError: If a value of a system is not finite.
    """
    removals = [Removal(system) for system in systems]
    left = list(range(len(systems[0].inputs)))
    order: list[int] = []
    growth: list[float] = []
    while len(left) > count:
        totals = np.sum([removal.losses(left) for removal in removals], axis=0)
        best = int(np.argmin(totals))
        growth.append(float(totals[best]))
        order.append(left.pop(best))
        for removal in removals:
            removal.remove(order[-1])
    return order, np.cumsum(np.array(growth, np.float64))


def importances(systems: Sequence[System]) -> npt.NDArray[np.float64]:
    """The loss at which the greedy removal removes each channel, shape (channels,), float64.

    It is the loss after this and all earlier removals, relative to the energy of the wanted outputs
    and above the loss with all channels. If the k channels of the smallest importances are removed,
    the largest of these importances is the loss. A channel that is removed later always has a
    larger importance: where rounding hides the growth, it grows by the smallest step of a float.
    """
    order, losses = obs_order(systems)
    found, last = np.zeros(len(order)), -math.inf
    for channel, loss in zip(order, losses.tolist(), strict=True):
        last = max(loss, math.nextafter(last, math.inf))
        found[channel] = last
    return found


def obs_mask(
    systems: Sequence[System], count: int, swaps: int = 0
) -> tuple[npt.NDArray[np.bool_], float]:
    """Keep some channels of a space: the greedy removal, then exchanges.

    Args:
        systems: Systems of the space's consumers, whose losses add.
        count: Number of channels that stay.
        swaps: Largest number of exchanges of a removed and a kept channel. Each is the best of all
            pairs; they end when no exchange lowers the loss.

    Returns:
        The mask, True to keep a channel, shape (channels,), and the loss above that with all
        channels.

    Raises:
        ValueError: If ``count`` is out of range, or ``swaps`` is negative.
    """
    channels = len(systems[0].inputs)
    if not 1 <= count <= channels:
        raise ValueError(f"count={count} must be 1 to {channels}, the number of channels")
    if swaps < 0:
        raise ValueError(f"swaps={swaps} must be at least 0")
    order, losses = obs_order(systems, count)
    mask = np.ones(channels, dtype=bool)
    mask[order] = False
    loss = float(losses[-1]) if order else 0.0
    for _ in range(swaps if order else 0):
        change, gone, back = _best_exchange(systems, mask)
        if change >= -1e-12 * loss:  # Rounding alone must not exchange channels.
            break
        mask[gone], mask[back] = False, True
        loss += change
    return mask, loss


def _best_exchange(
    systems: Sequence[System], mask: npt.NDArray[np.bool_]
) -> tuple[float, int, int]:
    """The smallest change of the loss, the kept channel that goes, and the one that comes back."""
    exchanges = [Exchange(system, mask) for system in systems]
    kept, found = np.flatnonzero(mask).tolist(), []
    for back in np.flatnonzero(~mask).tolist():
        totals = np.sum([exchange.changes(back, kept) for exchange in exchanges], axis=0)
        best = int(np.argmin(totals))
        found.append((float(totals[best]), kept[best], back))
    return min(found)


def check_consumers(network: nn.Module, space: ChannelSpace) -> None:
    """Check that all consumers of a space have systems.

    Args:
        network: The network.
        space: A space of the network.

    Raises:
        ValueError: If a consumer is not of a kind that the repair refits, has groups, or has so
            many inputs that its system is too large.
    """
    for name in space.consumers:
        module, most = network.get_submodule(name), math.isqrt(LARGEST)
        why = None
        if not has_rows(module):
            why = f"a {type(module).__name__}, which cannot be refitted"
        elif groups_of(module) > 1:
            why = f"a convolution of {groups_of(module)} groups, which has no single system"
        elif (size := system_size(checked_layer(name, module))) > most:
            why = f"a layer of {size} inputs, but a system has at most {most}"
        if why is not None:
            raise ValueError(
                f"criterion='obs': layer {name!r}, which reads space {space.name!r}, is {why}; use "
                "another criterion, such as 'taylor' or 'l1'"
            )


def systems_of(
    network: nn.Module,
    space: ChannelSpace,
    refit: LeastSquares,
    outputs: Mapping[str, npt.NDArray[np.bool_]],
) -> list[System]:
    """The systems of a space's consumers; consumers that the network does not call have none.

    A consumer with more inputs than rows has one, too: the ridge makes it definite.

    Args:
        network: Present network in ``eval`` mode; it is not changed.
        space: Channel space, with the network's channels.
        refit: Refit that holds the wanted outputs: those of the unpruned network.
        outputs: Outputs that a consumer still has, by its name, shape (outputs in the unpruned
            network,). A consumer without an entry has all.

    Raises:
        ValueError: See :func:`check_consumers`; or if the network calls no consumer, or values are
            not finite.
    """
    check_consumers(network, space)
    called = [name for name in space.consumers if name in refit.references]
    if not called:
        raise ValueError(
            f"criterion='obs': the network calls no layer that reads space {space.name!r}, so that "
            "there is no loss; use another criterion, such as 'l1'"
        )
    return [_system(network, space, refit, name, outputs.get(name)) for name in called]


@torch.no_grad()
def _system(
    network: nn.Module,
    space: ChannelSpace,
    refit: LeastSquares,
    name: str,
    outputs: npt.NDArray[np.bool_] | None,
) -> System:
    module, reference = network.get_submodule(name), refit.references[name]
    layer, wanted = checked_layer(name, module), reference.outputs
    moments = refit.moments(
        name, module, layer_inputs(network, module, refit.images, reference.repeats)
    )
    if outputs is not None:
        left = torch.from_numpy(np.flatnonzero(outputs)).to(wanted.device)
        moments, wanted = moments.of_outputs(left), wanted[:, left]
    weights = layer.weight.flatten(1).T.double()
    slots = RULES[type(layer)].slots(layer, "in")
    each = len(weights) // slots  # kernel positions
    own = torch.from_numpy(space.slots(name, "in", slots).copy())[:, :, None] * each
    inputs = (own + torch.arange(each)).flatten(1).to(weights.device)
    if layer.bias is not None:
        weights = torch.cat([weights, layer.bias[None].double()])
    energy = float(wanted.double().square().sum())
    system = System.of(moments, weights, inputs, energy, refit.ridge)
    if not (system.hessian.isfinite().all() and system.target.isfinite().all()):
        raise ValueError(
            f"criterion='obs': layer {name!r} has no system, because values that it reads are not "
            "finite; check the weights and the learning rate"
        )
    return system
