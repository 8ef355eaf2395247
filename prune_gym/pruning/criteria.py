"""Criteria that rank a layer's filters by their estimated importance.

``l1`` and ``l2`` are norms of the weights (Li et al. 2017, "Pruning Filters for Efficient
ConvNets", section 3.1); ``fpgm`` is the summed distance to the layer's other filters (He et al.
2019, "Filter Pruning via Geometric Median", section 3.3); ``bn`` is the size of batch norm's scale
(Liu et al. 2017, "Network Slimming", section 3); ``taylor`` is the squared first-order change of
the loss (Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning", equations 7 and
8); ``obs`` is the error of the layers that read the filters, after the best refit (Kurtic et al.
2023, "ZipLM", section 3; :mod:`prune_gym.pruning.obs`).
"""

from typing import TYPE_CHECKING, Any, cast

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from prune_gym.errors import UnknownNameError
from prune_gym.interface import Action, Observation, pruning_environment

if TYPE_CHECKING:
    from torch import Tensor, nn

    from prune_gym.batches import Images
    from prune_gym.envs import PruningEnv
    from prune_gym.pruning import ChannelSpace

CRITERIA = ("l1", "l2", "fpgm", "bn", "taylor", "obs")
# Gradients are averaged over the mini-batches before they are squared, as in the paper.
BATCH = 64
_ENTRIES = {"l1": "l1", "l2": "l2", "fpgm": "distance", "bn": "bn_scale"}
_OF_WEIGHTS = ("l1", "l2", "fpgm")


def check(criterion: str, env: gym.Env[Any, Any]) -> None:
    """Check that an environment can rank filters by a criterion.

    Args:
        criterion: Criterion, one of ``CRITERIA``.
        env: A pruning environment, wrapped or not.

    Raises:
        UnknownNameError: There is no such criterion.
        ValueError: The observation lacks the criterion's entry, ``taylor`` or ``obs`` has no
            network, or a layer that reads filters has no system for ``obs``.
    """
    if criterion not in CRITERIA:
        raise UnknownNameError("criterion", criterion, CRITERIA)
    if criterion == "taylor":
        _real(criterion, env)
        return
    if criterion == "obs":
        from prune_gym.pruning.obs import check_consumers

        real = _real(criterion, env)
        for space in real.visited:
            check_consumers(real.baseline.module, space)
        return
    if criterion not in _ENTRIES:  # computed in scores()
        return
    shown = set(getattr(env.observation_space, "spaces", {}))
    if _ENTRIES[criterion] in shown or (criterion in _OF_WEIGHTS and "weights" in shown):
        return
    raise ValueError(
        f"criterion={criterion!r} needs the observation's {_ENTRIES[criterion]!r}: make the "
        "environment with observation='features'"
    )


def scores(
    criterion: str, observation: Observation, env: gym.Env[Any, Any]
) -> npt.NDArray[np.float64]:
    """Return the importance of each filter of the next layer.

    Args:
        criterion: Criterion, one of ``CRITERIA``.
        observation: The environment's own observation of its present state. If it shows
            ``weights``, norms and distances are computed from them.
        env: The environment. ``taylor`` and ``obs`` read its present network and add their MACs to
            ``search_macs_total``: ``taylor`` those of the gradients, three forward passes for each
            repair image; ``obs`` a forward pass of the unpruned and of the present network for
            each repair image, and those of the systems (:attr:`prune_gym.pruning.obs.System.macs`).

    Returns:
        Importances without padding, shape (filters,); empty after the last layer.

    Raises:
        ValueError: The criterion is ``bn``, and no batch norm follows the layer; or it is ``obs``,
            and a layer that reads the filters has no system.
    """
    filters = int(np.sum(observation["action_mask"]))
    if filters == 0:
        return np.zeros(0)
    if criterion == "taylor":
        return _taylor(env)
    if criterion == "obs":
        return _obs(env)
    entry = _ENTRIES[criterion]
    if entry not in observation:
        return _of_rows(criterion, observation["weights"], len(observation["action_mask"]), filters)
    found = np.abs(np.asarray(observation[entry], np.float64)[:filters])
    if criterion == "bn" and not found.any():
        raise ValueError("criterion='bn' needs a batch norm after every layer; this layer has none")
    return found


def keep_best(values: npt.NDArray[np.float64], count: int, width: int) -> npt.NDArray[np.int8]:
    """Return the mask that keeps the filters of the largest values, the first of equal ones.

    Args:
        values: Values of the filters, shape (filters,).
        count: Number of filters that stay.
        width: n_max, to which the mask is padded with zeros.

    Returns:
        Mask, shape (width,).
    """
    mask = np.zeros(width, np.int8)
    mask[np.argsort(-values, kind="stable")[:count]] = 1
    return mask


def action(
    criterion: str, observation: Observation, env: gym.Env[Any, Any], ratio: float, duration: float
) -> Action:
    """Return the action that keeps a share of the layer's filters, those of the largest scores.

    Args:
        criterion: Criterion, one of ``CRITERIA``.
        observation: The environment's own observation of its present state.
        env: The environment (:func:`scores`).
        ratio: Keep ratio, 0 to 1; at least one filter stays.
        duration: Duration of the fine-tuning, 0 to 1.
    """
    values = scores(criterion, observation, env)
    count = max(1, round(ratio * len(values)))
    mask = keep_best(values, count, len(observation["action_mask"]))
    return {"mask": mask, "duration": np.array([duration], np.float32)}


def _of_rows(
    criterion: str, weights: npt.NDArray[Any], width: int, filters: int
) -> npt.NDArray[np.float64]:
    """Compute norms or distances from the weights that the observation shows."""
    rows = np.asarray(weights, np.float64).reshape(width, -1)[:filters]
    if criterion == "l1":
        return np.abs(rows).sum(1)
    if criterion == "l2":
        return np.linalg.norm(rows, axis=1)
    return np.array([np.linalg.norm(rows - row, axis=1).sum() for row in rows])


def _real(criterion: str, env: gym.Env[Any, Any]) -> "PruningEnv":
    """Return the environment inside ``env`` if it has a network."""
    inner = pruning_environment(env)
    if inner.predicted:
        raise ValueError(
            f"criterion={criterion!r} needs a network to run, which {type(inner).__name__} does "
            "not have where accuracies are predicted; use l1, l2, fpgm or bn"
        )
    return cast("PruningEnv", inner)


def _taylor(env: gym.Env[Any, Any]) -> npt.NDArray[np.float64]:
    real = _real("taylor", env)
    state, baseline = real.snapshot(), real.baseline
    images = baseline.repair_images
    labels = baseline.train_split.labels[: len(images)].to(images.device)
    space = state.space(real.visited[state.position].name)
    real.search_macs_total += 3 * state.costs.macs * len(images)
    return taylor(state.module, space, images, labels)


def _obs(env: gym.Env[Any, Any]) -> npt.NDArray[np.float64]:
    from prune_gym.pruning.obs import importances, systems_of

    real = _real("obs", env)
    state, baseline = real.snapshot(), real.baseline
    space, refit = state.space(real.visited[state.position].name), baseline.least_squares
    outputs = {
        name: state.kept_slots(
            baseline.network, name, "out", refit.references[name].outputs.shape[1]
        )
        for name in space.consumers
        if name in refit.references
    }
    systems = systems_of(state.module, space, refit, outputs)
    # As in the repair, the wanted outputs are paid for, too, although they are kept.
    passes = (baseline.costs.of().macs + state.costs.macs) * len(baseline.repair_images)
    real.search_macs_total += passes + sum(system.macs for system in systems)
    return importances(systems)


def taylor(
    network: "nn.Module", space: "ChannelSpace", images: "Images", labels: "Tensor"
) -> npt.NDArray[np.float64]:
    """Return the first-order Taylor importance of each channel of a space.

    Each channel is multiplied by a gate of value 1. ``(dL/dgate)^2`` approximates the squared
    change of the loss when the channel is removed. The gate follows the batch norms, or the
    producers if there are no batch norms or one has no weights. ``dL/dgate`` therefore is the sum
    of gradient times value over the weights and biases that make the channel. It is averaged over
    mini-batches of ``BATCH`` images, squared, and averaged again.

    Args:
        network: Network in ``eval`` mode; it is not changed.
        space: Channel space, with the network's channels.
        images: Normalised images, shape (N, C, H, W), on the network's device.
        labels: Classes of the images, shape (N,), on the network's device.

    Returns:
        Importances, shape (channels,), float64.
    """
    import torch
    from torch.nn import functional

    from prune_gym.pruning.rules import channel_dim

    gate = torch.ones(space.channels, dtype=images.dtype, device=images.device).requires_grad_()

    def close(name: str, layer: "nn.Module", output: "Tensor") -> "Tensor":
        dim = channel_dim(layer, output)
        slots = torch.from_numpy(space.slots(name, "out", output.shape[dim]).copy()).to(gate.device)
        # Other channels of the layer belong to other spaces.
        factors = gate.new_ones(output.shape[dim])
        factors = factors.index_put((slots,), gate[:, None].expand(slots.shape))
        return output * factors.view(-1, *(1,) * (output.dim() - 1 - dim))

    handles = [
        network.get_submodule(name).register_forward_hook(
            lambda layer, _, output, name=name: close(name, layer, output)
        )
        for name in _gated(network, space)
    ]
    total = torch.zeros(space.channels, dtype=torch.float64)
    try:
        for start in range(0, len(images), BATCH):
            part = slice(start, start + BATCH)
            loss = functional.cross_entropy(network(images[part]), labels[part])
            # Not backward(): it would leave gradients in a network that states share.
            (gradient,) = torch.autograd.grad(loss, gate)
            total += gradient.double().cpu() ** 2 * (len(labels[part]) / len(images))
    finally:
        for handle in handles:
            handle.remove()
    return total.numpy()


def _gated(network: "nn.Module", space: "ChannelSpace") -> list[str]:
    """Names of the layers that the gates of a space follow."""
    from prune_gym.pruning.batch_norm import BatchNorm
    from prune_gym.pruning.channel_map import ChannelMap

    norms = [name for name in space.followers if isinstance(network.get_submodule(name), BatchNorm)]
    if norms and all(network.get_submodule(name).weight is not None for name in norms):
        return norms
    # What a ChannelMap passes on belongs to another space, too.
    return [n for n in space.producers if not isinstance(network.get_submodule(n), ChannelMap)]
