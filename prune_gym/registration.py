"""Registration of the environment ids, which ``import prune_gym`` calls."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from prune_gym.errors import PruneGymError, UnknownNameError

if TYPE_CHECKING:
    from prune_gym.envs import PruningEnv

ANY = "Prune-v0"
"""Environment of any network and data set, which the caller names."""
NETWORKS = {
    "ResNet20": "resnet20",
    "ResNet56": "resnet56",
    "Plain20": "plain20",
    "VGG16": "vgg16_quarter",
    "MobileNetV2": "mobilenetv2_half",
}
DATASETS = {"": "shapes", "-CIFAR10": "cifar10"}
ALF = "PruneResNet20-ALF-v0"
SURROGATE = "PruneResNet20-Surrogate-v0"
_ARGUMENTS: dict[str, dict[str, Any]] = {
    f"Prune{label}{suffix}-v0": {"network": network, "dataset": dataset}
    for label, network in NETWORKS.items()
    for suffix, dataset in DATASETS.items()
} | {
    ANY: {},
    ALF: {"network": "resnet20", "dataset": "shapes", "action_mode": "alf"},
    # The shipped surrogate was fitted to episodes that visit the inner spaces.
    SURROGATE: {"network": "resnet20", "dataset": "shapes", "scope": "inner", "surrogate": True},
}


def environment_ids() -> list[str]:
    """Return all environment ids of this package."""
    return list(_ARGUMENTS)


def register_environments() -> None:
    """Register all environment ids; repeated calls have no effect."""
    for name, arguments in _ARGUMENTS.items():
        if name not in gym.registry:
            gym.register(
                name,
                entry_point="prune_gym.envs.env:PruningEnv",
                vector_entry_point="prune_gym.vector:make_vector",
                kwargs=dict(arguments),
            )


def make_environment(env_id: str, arguments: Mapping[str, Any]) -> gym.Env:
    """Make an environment by id, one of :func:`environment_ids` or another registered id.

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
