"""An agent's files: safetensors and JSON, so that learning can continue. Nothing is pickled.

``policy.safetensors`` holds the policy's weights, ``training.safetensors`` what only learning
needs (optimizers, random states, memories), and ``policy.json`` the rest.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from agents.base import Agent
from prune_gym.errors import PruneGymError, WeightsError
from prune_gym.files import write_atomically, write_json
from prune_gym.jsonfile import read_json

POLICY, TRAINING, FACTS = "policy.safetensors", "training.safetensors", "policy.json"


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Write tensors by name and return ``path``; those that share memory are written separately."""
    own = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    return write_atomically(path, lambda temporary: save_file(own, temporary))


def write_facts(folder: Path, agent: Agent, name: str, **facts: Any) -> None:
    """Write ``policy.json``: the agent's name and counters, and other JSON values.

    Args:
        folder: Folder of the policy.
        agent: Agent whose ``episodes`` and ``steps`` are written.
        name: Name of the agent, which :func:`read_facts` checks.
        facts: JSON values by name, such as hyperparameters and random states.
    """
    counters = {"episodes": agent.episodes, "steps": agent.steps}
    write_json(folder / FACTS, {"agent": name, "counters": counters, **facts})


def read_facts(folder: Path, agent: Agent, name: str) -> dict[str, Any]:
    """Read what :func:`write_facts` wrote, and restore the agent's counters.

    Args:
        folder: Folder of the policy.
        agent: Agent whose ``episodes`` and ``steps`` are set.
        name: Name of the agent.

    Returns:
        The values of the file.

    Raises:
        WeightsError: The file is missing, damaged or of another agent.
    """
    path = folder / FACTS
    try:
        facts: dict[str, Any] = read_json(path)[0]
        found, counters = facts["agent"], facts["counters"]
        episodes, steps = int(counters["episodes"]), int(counters["steps"])
    except (OSError, ValueError, KeyError, TypeError, PruneGymError) as error:
        raise WeightsError(f"Cannot read the policy {str(path)!r}: {error!r}.") from error
    if found != name:
        raise WeightsError(
            f"The policy in {str(folder)!r} is of the agent {found!r}, not of {name!r}."
        )
    agent.continue_search(episodes, steps)
    return facts


def pick(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without the prefix."""
    found = {name: value for name, value in tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): value for name, value in found.items()}


def optimizer_tensors(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, Tensor]:
    """Return an optimizer's state (Adam's moments and step counts) as tensors by prefixed name."""
    return {
        f"{prefix}{index}/{key}": torch.as_tensor(value)
        for index, entries in optimizer.state_dict()["state"].items()
        for key, value in entries.items()
    }


def set_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], prefix: str
) -> None:
    """Restore the state that :func:`optimizer_tensors` returned.

    Raises:
        WeightsError: The state is of an optimizer with other parameters.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for label, tensor in pick(tensors, prefix).items():
        index, _, key = label.partition("/")
        number = int(index) if index.isdigit() else len(parameters)
        if number >= len(parameters) or tensor.shape not in ((), parameters[number].shape):
            raise WeightsError(f"The saved optimizer does not fit: {prefix}{label!r}.")
        state.setdefault(number, {})[key] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def set_module(module: nn.Module, tensors: Mapping[str, Tensor], prefix: str) -> None:
    """Load the tensors whose names begin with a prefix into a module.

    Raises:
        WeightsError: The tensors are of a module of another shape.
    """
    try:
        module.load_state_dict(pick(tensors, prefix))
    except RuntimeError as error:
        raise WeightsError(f"The saved {prefix!r} does not fit: {error}") from error


def numbers(folder: Path, value: object, length: int) -> npt.NDArray[np.float64]:
    """Read a list of finite numbers of a given length.

    Raises:
        WeightsError: It is another value, because the policy is of another network or damaged.
    """
    try:
        found = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"The policy in {str(folder)!r} is damaged: {error}.") from error
    if found.shape != (length,) or not np.isfinite(found).all():
        raise WeightsError(
            f"The policy in {str(folder)!r} is of another network: it has no {length} numbers."
        )
    return found


def set_random(random: np.random.Generator, state: Any) -> None:
    """Set the state of a NumPy generator to a former ``bit_generator.state``.

    Raises:
        WeightsError: The state is missing or damaged.
    """
    try:
        random.bit_generator.state = state
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"The saved random state is not usable: {error}") from error


def set_generator(generator: torch.Generator, tensors: Mapping[str, Tensor], name: str) -> None:
    """Set the state of a torch generator to the tensor ``name``, a former ``get_state()``.

    Raises:
        WeightsError: The state is missing or damaged.
    """
    try:
        generator.set_state(tensors[name])
    except (KeyError, RuntimeError, TypeError) as error:
        raise WeightsError(f"The saved random state {name!r} is not usable: {error}") from error
