"""An algorithm's state as plain arrays and numbers; Stable-Baselines3's own zip is pickled."""

import operator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from agents.files import optimizer_tensors, pick, set_optimizer
from prune_gym.errors import WeightsError

Arrays = dict[str, npt.NDArray]
_TRANSITION = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
_OF_ROLLOUTS = ("episode_starts", "values", "log_probs", "action_masks")
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
_REPLAY, _ROLLOUT, _OPTIMIZER, _EXTRA = "replay/", "rollout/", "optimizer/", "extra/"


def is_rollout(model: Any) -> bool:
    """Return whether an algorithm learns from rollouts, not from a replay buffer."""
    return getattr(model, "rollout_buffer", None) is not None


def optimizers(model: Any) -> dict[str, torch.optim.Optimizer]:
    """Return an algorithm's optimizers by the names of its parameters."""
    return {
        name: operator.attrgetter(name)(model)
        for name, state in model.get_parameters().items()
        if "param_groups" in state
    }


def buffer_arrays(buffer: Any) -> Arrays:
    """Copy the contents of a rollout or replay buffer with ``Dict`` observations.

    Returns:
        Arrays by name, shape (filled, environments, ...), and ``position``, the index of the next
        entry.
    """
    filled = buffer.buffer_size if buffer.full else buffer.pos
    result: Arrays = {"position": np.array([buffer.pos])}
    for name in (*_TRANSITION, *_OF_ROLLOUTS):
        value = getattr(buffer, name, None)
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for key, array in parts:
            if array is not None:
                result[f"{name}.{key}"] = array[:filled].copy()
    return result


def set_buffer_arrays(buffer: Any, arrays: Arrays) -> None:
    """Restore what :func:`buffer_arrays` returned.

    Raises:
        WeightsError: The arrays are of a buffer of another shape.
    """
    for label, array in arrays.items():
        if label == "position":
            continue
        name, _, key = label.partition(".")
        own = getattr(buffer, name, None)
        own = own.get(key) if isinstance(own, dict) else own
        if own is None or own.shape[1:] != array.shape[1:] or len(own) < len(array):
            raise WeightsError(f"The saved buffer's {label!r} of shape {array.shape} does not fit.")
        own[: len(array)] = array
    buffer.pos = int(arrays["position"][0])
    buffer.full = len(arrays["rewards."]) == buffer.buffer_size


def training_tensors(model: Any, partial: Arrays | None) -> dict[str, Tensor]:
    """Return what learning needs to continue besides the policy's weights: optimizers and buffers.

    Args:
        model: Algorithm of Stable-Baselines3.
        partial: Beginning of a rollout (:func:`buffer_arrays`), or None.
    """
    tensors: dict[str, Tensor] = {}
    for name, optimizer in optimizers(model).items():
        tensors |= optimizer_tensors(optimizer, f"{_OPTIMIZER}{name}/")
    if getattr(model, "log_ent_coef", None) is not None:
        tensors[f"{_EXTRA}log_ent_coef"] = model.log_ent_coef.detach()
    buffers = {_ROLLOUT: partial or {}}
    if not is_rollout(model):
        buffers[_REPLAY] = buffer_arrays(model.replay_buffer)
    for prefix, arrays in buffers.items():
        tensors |= {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}
    return tensors


def set_training_tensors(model: Any, tensors: dict[str, Tensor]) -> Arrays | None:
    """Restore what :func:`training_tensors` returned; return the rollout's beginning, if any.

    Raises:
        WeightsError: The tensors are of another algorithm.
    """
    known = optimizers(model)
    for label in tensors:
        if label.startswith(_OPTIMIZER) and label.split("/")[1] not in known:
            raise WeightsError(f"The saved training state is of another algorithm: {label!r}.")
    for name, optimizer in known.items():
        set_optimizer(optimizer, tensors, f"{_OPTIMIZER}{name}/")
    if f"{_EXTRA}log_ent_coef" in tensors:
        with torch.no_grad():
            model.log_ent_coef.copy_(tensors[f"{_EXTRA}log_ent_coef"])
    replay, rollout = (
        {name: tensor.numpy() for name, tensor in pick(tensors, prefix).items()}
        for prefix in (_REPLAY, _ROLLOUT)
    )
    if replay:
        set_buffer_arrays(model.replay_buffer, replay)
    return rollout or None


def counters(model: Any) -> dict[str, Any]:
    """Return the counters and the action space's random state as JSON values."""
    numbers = {name: int(getattr(model, name)) for name in _COUNTERS}
    return numbers | {"actions": model.action_space.np_random.bit_generator.state}


def set_counters(model: Any, values: dict[str, Any]) -> None:
    """Restore what :func:`counters` returned."""
    for name in _COUNTERS:
        setattr(model, name, values[name])
    model.action_space.np_random.bit_generator.state = values["actions"]
