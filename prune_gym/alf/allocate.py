"""The number of codes of each convolution: limits, and an allocation that meets a target."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prune_gym.alf.block import ALFConv2d

Hold = Callable[
    [npt.NDArray[np.bool_], tuple[int, ...], npt.NDArray[np.floating], npt.NDArray[np.floating]],
    npt.NDArray[np.bool_],
]
"""Rules for a mask: (mask, counts before, sizes, sizes) to the nearest allowed mask."""
Energies = npt.NDArray[np.float64]


def output_energies(outputs: Tensor) -> Energies:
    """The largest share of a layer's outputs (samples, Co) that k = 0 ... Co codes can represent.

    It is the share of the outputs' variance in the first k principal components, shape (Co + 1,).
    """
    centred = outputs.double() - outputs.double().mean(0)
    variances = torch.linalg.eigvalsh(centred.T @ centred).flip(0).clamp_min(0)
    total = variances.sum()
    if not total > 0:  # constant outputs: any single code represents them
        variances, total = torch.ones_like(variances), torch.tensor(float(len(variances)))
    shares = torch.cat([torch.zeros(1, dtype=torch.float64), (variances / total).cpu().cumsum(0)])
    return shares.numpy()


def select_codes(
    energies: Mapping[str, Energies],
    counts: Mapping[str, Sequence[int]],
    excess: Callable[[Mapping[str, int]], Mapping[str, float]],
) -> dict[str, int] | None:
    """Select numbers of codes that meet a target.

    The search is greedy, as in Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks
    for Classification and Detection", section 3.4: the product of all layers' energies should
    stay large. Each iteration removes codes from the layer with the smallest relative loss of
    energy per cost reduction.

    Args:
        energies: Result of :func:`output_energies` for each layer.
        counts: Allowed counts of each layer, above 0; the search starts at the largest.
        excess: Function from counts to costs relative to their limits. The target is met if no
            value is above 1; only reductions of values above 1 count.

    Returns:
        The count of each layer; None if the search does not meet the target.
    """
    left = {name: sorted(own, reverse=True) for name, own in counts.items()}
    chosen = {name: own.pop(0) for name, own in left.items()}
    figures = excess(chosen)
    while any(figure > 1 for figure in figures.values()):
        best: tuple[float, str] | None = None
        for name, own in left.items():
            if not own:
                continue
            after = excess(chosen | {name: own[0]})
            gain = sum(figures[cost] - after[cost] for cost in figures if figures[cost] > 1)
            lost = 1 - energies[name][own[0]] / energies[name][chosen[name]]
            if gain > 0 and (best is None or (lost / gain, name) < best):
                best = (lost / gain, name)
        if best is None:
            return None
        chosen[best[1]] = left[best[1]].pop(0)
        figures = excess(chosen)
    return chosen


def hold_codes(block: ALFConv2d, before: tuple[int, ...], hold: Hold) -> bool:
    """Apply rules to a block's codes in place, and return whether the codes changed.

    The smallest mask entries are dropped, or the largest restored. ``before`` holds the counts of
    the convolutions visited before.
    """
    alive = block.alive().numpy()
    sizes = block.mask.detach().abs().cpu().numpy()
    wanted = hold(alive, before, sizes, sizes)
    if (wanted == alive).all():
        return False
    with torch.no_grad():
        block.mask[torch.from_numpy(~wanted)] = 0
        block.mask[torch.from_numpy(wanted & ~alive)] = 1
    return True
