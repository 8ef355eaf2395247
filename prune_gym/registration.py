"""Registration of the environment ids, which ``import prune_gym`` calls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from prune_gym.errors import PruneGymError, UnknownNameError

if TYPE_CHECKING:
    from prune_gym.envs import PruningEnv

NETWORKS = {"ResNet20": "resnet20", "ResNet56": "resnet56", "Plain20": "plain20"}
DATASETS = {"": "shapes", "-CIFAR10": "cifar10"}
ENTRY_POINT = "prune_gym.envs.env:PruningEnv"
VECTOR_ENTRY_POINT = "prune_gym.vector:make_vector"
ALF = "PruneResNet20-ALF-v0"
SURROGATE = "PruneResNet20-Surrogate-v0"


def environment_ids() -> list[str]:
    """Return all environment ids of this package."""
    real = [f"Prune{network}{data}-v0" for network in NETWORKS for data in DATASETS]
    return [*real, ALF, SURROGATE]


def register_environments() -> None:
    """Register all environment ids; repeated calls have no effect."""
    for label, network in NETWORKS.items():
        for suffix, dataset in DATASETS.items():
            name = f"Prune{label}{suffix}-v0"
            if name not in gym.registry:
                gym.register(
                    name,
                    entry_point=ENTRY_POINT,
                    vector_entry_point=VECTOR_ENTRY_POINT,
                    kwargs={"network": network, "dataset": dataset},
                )
    if ALF not in gym.registry:
        gym.register(
            ALF,
            entry_point=ENTRY_POINT,
            vector_entry_point=VECTOR_ENTRY_POINT,
            kwargs={"network": "resnet20", "dataset": "shapes", "action_mode": "alf"},
        )
    if SURROGATE not in gym.registry:
        gym.register(
            SURROGATE,
            entry_point=ENTRY_POINT,
            vector_entry_point=VECTOR_ENTRY_POINT,
            kwargs={"network": "resnet20", "dataset": "shapes", "surrogate": True},
        )


def make_environment(env_id: str, arguments: Mapping[str, Any]) -> gym.Env:
    """Make an environment by id.

    Args:
        env_id: One of :func:`environment_ids`, or another registered id.
        arguments: Arguments of the environment, by name.

    Raises:
        UnknownNameError: If there is no such id.
        PruneGymError: If data or weights are missing.
    """
    if env_id not in gym.registry:
        raise UnknownNameError("environment", env_id, environment_ids())
    return gym.make(env_id, **arguments)


def real_environment(env: gym.Env) -> "PruningEnv":
    """The pruning environment inside its wrappers, which has a network to export.

    Raises:
        PruneGymError: If it is a surrogate, or no pruning environment.
    """
    from prune_gym.envs import PruningEnv
    from prune_gym.envs.env import NO_NETWORK

    inner = env.unwrapped
    if not isinstance(inner, PruningEnv):
        raise PruneGymError(
            f"{type(inner).__name__} is not a pruning environment with a network. Use one of "
            "`prune-gym list environments`."
        )
    if inner.predicted:
        raise PruneGymError(NO_NETWORK)
    return inner
