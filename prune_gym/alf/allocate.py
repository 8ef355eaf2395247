"""How many codes each convolution gets, so that a target is met at the least loss."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Energies = npt.NDArray[np.float64]


def output_energies(outputs: Tensor) -> Energies:
    """How much of a layer's outputs so many codes could hold at best.

    Args:
        outputs: Of the layer on some images, shape (samples, Co).

    Returns:
        For k = 0 ... Co the share of the outputs' variance that lies in their first k principal
        components; shape (Co + 1,), from 0 to 1.
    """
    centred = outputs.double() - outputs.double().mean(0)
    variances = torch.linalg.eigvalsh(centred.T @ centred).flip(0).clamp_min(0)
    total = variances.sum()
    if not total > 0:  # a layer that always says the same needs any one code
        variances, total = torch.ones_like(variances), torch.tensor(float(len(variances)))
    shares = torch.cat([torch.zeros(1, dtype=torch.float64), (variances / total).cpu().cumsum(0)])
    return shares.numpy()


def select_codes(
    energies: Mapping[str, Energies],
    counts: Mapping[str, Sequence[int]],
    excess: Callable[[Mapping[str, int]], Mapping[str, float]],
) -> dict[str, int] | None:
    """Numbers of codes with which a target is met.

    Greedy, as in Zhang et al. 2016, "Accelerating Very Deep Convolutional Networks for
    Classification and Detection", section 3.4: the product of all layers' energies is to stay
    large, so at each turn the layer gives codes up that loses the least share of its energy for
    what is gained in costs.

    Args:
        energies: For each layer what :func:`output_energies` returns.
        counts: For each layer the counts that it may have, above 0; it starts at the largest.
        excess: Costs of such counts as shares of what is wanted: the target is met where none is
            above 1. Only those above 1 count as gains.

    Returns:
        For each layer its count; None where the target cannot be met in this way.
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
