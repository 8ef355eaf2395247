"""Sensitivities: what cutting one channel space alone does to the network's outputs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from prune_gym.envs.baseline import Baseline
from prune_gym.envs.observation import filter_rows
from prune_gym.errors import PruneGymError, WriteError
from prune_gym.files import home, make_folder, write_json
from prune_gym.jsonfile import Amount, JsonRecord, Whole, read_json
from prune_gym.pruning import ChannelSpace, dense, legal_mask
from prune_gym.pruning.repair import reestimate_batch_norm
from prune_gym.training import EVALUATION_BATCH

SHARES = (0.125, 0.25, 0.5, 0.75)
"""Shares of a space's channels at which its sensitivity is measured (this project's choice)."""
FOLDER = "sensitivities"


@dataclass(frozen=True)
class Sensitivities(JsonRecord):
    """Divergences of networks that are cut in one space.

    Args:
        counts: Measured channel counts of each visited space, ascending; the last one is all.
        divergences: Mean Kullback-Leibler divergence of the class probabilities from those of the
            unpruned network, in nats, for each of the counts. It never rises with the count, and
            is 0 for all channels.
    """

    SCHEMA = 1

    counts: Mapping[str, tuple[Whole, ...]]
    divergences: Mapping[str, tuple[Amount, ...]]

    def of(self, space: str, count: int) -> float:
        """The divergence at a count, on a straight line between measured counts.

        Below the least measured count, the line of the first two goes on.
        """
        counts, values = self.counts[space], self.divergences[space]
        if count < counts[0] and len(counts) > 1:
            slope = (values[0] - values[1]) / (counts[1] - counts[0])
            return values[0] + slope * (counts[0] - count)
        return float(np.interp(count, counts, values))


def measured(
    baseline: Baseline, visited: Sequence[ChannelSpace], shares: Sequence[float] = SHARES
) -> tuple[Sensitivities, int]:
    """Measure the sensitivities of an unpruned network, or read an earlier measurement.

    In each network one space keeps its filters of the largest L1 norms, and the batch norms are
    re-estimated. Without that, equal sensitivity ended two points below one ratio on ResNet-20 at a
    quarter of the MACs; after a least-squares refit it cut layers of VGG-16 to four filters. The
    images are the unlabelled repair images. This is the sensitivity of AIMET and of NVIDIA's
    FastNAS, with the divergence in place of an accuracy (this project's choice: it needs no labels,
    and tells small changes apart).

    Args:
        baseline: The unpruned network.
        visited: Spaces to cut.
        shares: Shares of the channels that stay, each above 0 and below 1.

    Returns:
        The sensitivities, and the nominal MACs of measuring them.

    Raises:
        ValueError: If a share is out of range.
    """
    for share in shares:
        if not 0 < share < 1:
            raise ValueError(f"shares: {share} must be above 0 and below 1")
    counts = {
        space.name: tuple(
            sorted({*(max(1, round(share * space.channels)) for share in shares), space.channels})
        )
        for space in visited
    }
    networks = [(space, count) for space in visited for count in counts[space.name][:-1]]
    # Each cut network has one pass for its batch norms and one for its outputs.
    macs = sum(baseline.geometry.macs({space.name: count}) for space, count in networks)
    macs = baseline.costs.of().macs + 2 * macs
    path = home() / FOLDER / f"{_key(baseline, counts)}.json"
    found = None
    if path.is_file():
        try:
            found = Sensitivities.from_json(*read_json(path))
        except PruneGymError:
            found = None  # a damaged file is measured again
    if found is None or not _fits(found, counts):
        found = _measure(baseline, visited, counts)
        try:
            make_folder(path.parent)
            write_json(path, found.to_json())
        except WriteError as error:
            gym.logger.warn("sensitivities are measured again next time: %s", error)
    return found, macs * len(baseline.repair_images)


def _fits(found: Sensitivities, counts: Mapping[str, Sequence[int]]) -> bool:
    """Whether a file holds a divergence for each of the counts, and none besides."""
    lengths = {name: len(values) for name, values in found.divergences.items()}
    return dict(found.counts) == counts and lengths == {n: len(each) for n, each in counts.items()}


def _key(baseline: Baseline, counts: Mapping[str, Sequence[int]]) -> str:
    """SHA-256 of everything on which the numbers depend, their rounding included."""
    facts = (
        baseline.weights_hash,
        baseline.dataset.fingerprint,
        len(baseline.repair_images),
        counts,
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        torch.get_num_threads(),
        str(baseline.device),
    )
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


@torch.no_grad()
def _measure(
    baseline: Baseline, visited: Sequence[ChannelSpace], counts: Mapping[str, tuple[int, ...]]
) -> Sensitivities:
    module, spaces = baseline.module, baseline.network.spaces
    wanted = _log_probabilities(module, baseline)
    found = {}
    for space in visited:
        norms = filter_rows(module, space).abs().sum(1).numpy()
        values = []
        for count in counts[space.name][:-1]:
            mask = legal_mask(np.zeros(space.channels, bool), norms, min_keep=count)
            cut = dense(module, spaces, {space.name: mask})
            reestimate_batch_norm(cut, baseline.repair_images)
            reached = _log_probabilities(cut, baseline)
            divergence = functional.kl_div(reached, wanted, reduction="batchmean", log_target=True)
            values.append(max(0.0, float(divergence)))
        # Fewer filters never do less harm: a dip is noise of the images.
        falling = np.maximum.accumulate([*values, 0.0][::-1])[::-1]
        found[space.name] = tuple(float(value) for value in falling)
    return Sensitivities(counts, found)


def _log_probabilities(module: nn.Module, baseline: Baseline) -> torch.Tensor:
    parts = baseline.repair_images.split(EVALUATION_BATCH)
    return torch.cat([functional.log_softmax(module(part).double(), 1) for part in parts])
