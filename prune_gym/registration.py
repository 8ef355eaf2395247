"""Registration of the environment ids, which ``import prune_gym`` calls."""

import gymnasium as gym

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
