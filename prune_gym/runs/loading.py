"""What a run or an exported folder holds, loaded again."""

from pathlib import Path
from typing import Any

import numpy as np

from prune_gym.cli.settings import make_environment
from prune_gym.envs.state import State
from prune_gym.errors import PruneGymError
from prune_gym.pruning.saved import DESCRIPTION, load_network_into, read_description
from prune_gym.runs import folder as run_folder


def open_run(folder: Path, overrides: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """A run's configuration and an environment like its own.

    Args:
        folder: The run's folder.
        overrides: Environment arguments that take the place of the run's.

    Returns:
        The configuration and the environment, reset.

    Raises:
        PruneGymError: The folder holds no run, or data or weights are missing.
    """
    config = run_folder.read_config(folder)
    env = make_environment(config["id"], config["env_arguments"] | overrides)
    env.reset(seed=config["seed"])
    now = run_folder.hashes(env.unwrapped)
    for name in ("weights", "dataset"):
        # Whoever names other images or weights wants them.
        if config["hashes"][name] != now[name] and not {"weights", "dataset"} & set(overrides):
            raise PruneGymError(
                f"{str(folder)!r} was made with {name} {config['hashes'][name][:12]}, here they "
                f"are {now[name][:12]}: a baseline trained anew, or other images. Name those that "
                "are meant (--weights, --dataset), or start a new run."
            )
    return config, env


def best_state(folder: Path, env: Any) -> State:
    """The best network of a run as a state of its environment.

    Raises:
        PruneGymError: No episode of the run was finished.
    """
    best = folder / run_folder.BEST
    if not (best / DESCRIPTION).is_file():
        raise PruneGymError(f"{str(folder)!r} has no best network: no episode was finished.")
    return state_of(best, env)


def state_of(folder: Path, env: Any) -> State:
    """A saved network as a state of its environment, after the last space.

    Raises:
        WeightsError: It is missing, damaged or of another architecture.
    """
    baseline = env.baseline
    network = load_network_into(folder, baseline.network)
    module = network.module.to(baseline.device).eval()
    accuracy, _ = baseline.evaluate(module)
    described = read_description(folder)["spaces"]
    start = env.snapshot()
    return State(
        module=module,
        spaces=network.spaces,
        kept={
            name: start.kept[name][space["kept"]] if name in start.kept else np.array(space["kept"])
            for name, space in described.items()
        },
        position=len(env.visited),
        accuracy=accuracy,
        costs=baseline.cost_model(module, network.spaces).of(
            {space.name: space.channels for space in network.spaces}
        ),
        activation=start.activation[:0],
        random=start.random,
    )
