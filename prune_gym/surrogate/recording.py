"""Recording of real episodes, to which a surrogate is fitted."""

from typing import Any

from prune_gym.envs import PruningEnv
from prune_gym.surrogate.records import KIND, SCHEMA, conditions


def header(env: PruningEnv, name: str, arguments: dict[str, Any], seed: int) -> dict[str, Any]:
    """The first line of a file of records.

    Args:
        env: The real environment.
        name: Id of the environment.
        arguments: Arguments that were given to it.
        seed: Seed of the recording.

    Returns:
        A table for JSON.
    """
    return {
        "schema": SCHEMA,
        "kind": KIND,
        "id": name,
        "env_arguments": arguments,
        "seed": seed,
        "threads": env.threads,
        "accelerator": env.baseline.costs.accelerator.fingerprint,
        "conditions": conditions(env.config, env.baseline, env.visited),
    }
