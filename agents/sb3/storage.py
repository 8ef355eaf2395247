"""What an algorithm knows, as plain arrays and numbers: Stable-Baselines3's own zip is pickled."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from prune_gym.errors import WeightsError

Arrays = dict[str, npt.NDArray]
_BUFFERED = (
    "observations",
    "next_observations",
    "actions",
    "rewards",
    "dones",
    "timeouts",
    "episode_starts",
    "values",
    "log_probs",
    "action_masks",
)
_COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
_REPLAY, _ROLLOUT, _OPTIMIZER, _EXTRA = "replay/", "rollout/", "optimizer/", "extra/"


def is_rollout(model: Any) -> bool:
    """Whether an algorithm learns from rollouts (and not from a replay buffer)."""
    return getattr(model, "rollout_buffer", None) is not None


def kept(buffer: Any) -> Arrays:
    """Copies of what a rollout or replay buffer holds.

    Args:
        buffer: One of Stable-Baselines3's, of ``Dict`` observations.

    Returns:
        Arrays by name, shape (filled, environments, ...); ``position`` where the next goes.
    """
    filled = buffer.buffer_size if buffer.full else buffer.pos
    result: Arrays = {"position": np.array([buffer.pos])}
    for name in _BUFFERED:
        value = getattr(buffer, name, None)
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for key, array in parts:
            if array is not None:
                result[f"{name}.{key}"] = array[:filled].copy()
    return result


def fill(buffer: Any, arrays: Arrays) -> None:
    """Put back what :func:`kept` gave.

    Raises:
        WeightsError: It is of a buffer of another shape.
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
    """All that going on needs besides the policy's weights: optimizers and buffers.

    Args:
        model: The algorithm.
        partial: The beginning of a rollout, from :func:`kept`.

    Returns:
        Tensors by name.
    """
    tensors: dict[str, Tensor] = {}
    for name, state in model.get_parameters().items():
        for index, entries in state.get("state", {}).items():
            for key, value in entries.items():
                # Some optimizers count their steps in a tensor, some do not.
                tensors[f"{_OPTIMIZER}{name}/{index}/{key}"] = torch.as_tensor(value)
    if getattr(model, "log_ent_coef", None) is not None:
        tensors[f"{_EXTRA}log_ent_coef"] = model.log_ent_coef.detach()
    buffers = {_ROLLOUT: partial or {}}
    if not is_rollout(model):
        buffers[_REPLAY] = kept(model.replay_buffer)
    for prefix, arrays in buffers.items():
        tensors |= {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def set_training_tensors(model: Any, tensors: dict[str, Tensor]) -> Arrays | None:
    """Put back what :func:`training_tensors` gave.

    Args:
        model: An algorithm with the same options.
        tensors: By name.

    Returns:
        The beginning of a rollout, or None.

    Raises:
        WeightsError: They are of another algorithm.
    """
    parameters = model.get_parameters()
    for name, state in parameters.items():
        if "param_groups" not in state:
            continue
        prefix = f"{_OPTIMIZER}{name}/"
        state["state"] = {}
        for label, tensor in tensors.items():
            if label.startswith(prefix):
                index, _, key = label.removeprefix(prefix).partition("/")
                state["state"].setdefault(int(index), {})[key] = tensor
    optimizers = {f"{_OPTIMIZER}{n}" for n, state in parameters.items() if "state" in state}
    strange = [
        label
        for label in tensors
        if label.startswith(_OPTIMIZER) and label.rsplit("/", 2)[0] not in optimizers
    ]
    if strange:
        raise WeightsError(f"The saved training state is of another algorithm: {strange[0]!r}.")
    model.set_parameters(parameters)
    if f"{_EXTRA}log_ent_coef" in tensors:
        with torch.no_grad():
            model.log_ent_coef.copy_(tensors[f"{_EXTRA}log_ent_coef"])
    replay, rollout = (
        {n.removeprefix(p): t.numpy() for n, t in tensors.items() if n.startswith(p)}
        for p in (_REPLAY, _ROLLOUT)
    )
    if replay:
        fill(model.replay_buffer, replay)
    return rollout or None


def counters(model: Any) -> dict[str, Any]:
    """Counters and the action space's random state, as JSON takes them."""
    numbers = {name: int(getattr(model, name)) for name in _COUNTERS}
    return numbers | {"actions": model.action_space.np_random.bit_generator.state}


def set_counters(model: Any, values: dict[str, Any]) -> None:
    """Put back what :func:`counters` gave."""
    for name in _COUNTERS:
        setattr(model, name, values[name])
    model.action_space.np_random.bit_generator.state = values["actions"]
