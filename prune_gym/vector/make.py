"""Vector environments for Gymnasium and for Stable-Baselines3."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from prune_gym.envs import PruningEnv
from prune_gym.errors import PruneGymError
from prune_gym.vector import workers
from prune_gym.vector.copies import Copies, Wrapper

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv


def make_vector(
    num_envs: int = 1,
    *,
    processes: int | None = None,
    start_method: str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **arguments: Any,
) -> VectorEnv:
    """The vector entry point of the ids: ``gym.make_vec("PruneResNet20-v0", num_envs=2)``.

    Args:
        num_envs: Sub-environments.
        processes: 1: all in this process, one after the other. ``num_envs``: a worker process for
            each, side by side; a script then needs ``if __name__ == "__main__":``. None: 1.
        start_method: Of worker processes (:func:`prune_gym.vector.workers.prepare`).
        autoreset_mode: When a sub-environment is reset behind an episode's end.
        arguments: Of :class:`prune_gym.envs.PruningEnv`. Without ``threads`` one process uses all
            cores, and worker processes one each.

    Returns:
        A ``SyncVectorEnv``, or an ``AsyncVectorEnv``
        (:class:`prune_gym.vector.workers.WorkerVectorEnv`).

    Raises:
        PruneGymError: Data or weights are missing or do not fit.
        ValueError: An argument is out of range or unknown.
    """
    return _vector(PruningEnv, num_envs, processes, start_method, autoreset_mode, arguments)


def make_surrogate_vector(
    num_envs: int = 1,
    *,
    processes: int | None = None,
    start_method: str | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **arguments: Any,
) -> VectorEnv:
    """The vector entry point of the surrogate's ids; arguments as for :func:`make_vector`.

    Its steps take less time than a message to a worker process, so one process is the faster.
    """
    from prune_gym.surrogate.env import SurrogateEnv

    return _vector(SurrogateEnv, num_envs, processes, start_method, autoreset_mode, arguments)


def sb3_vec_env(
    name: str,
    num_envs: int = 1,
    *,
    seed: int | None = None,
    wrappers: Sequence[Wrapper] = (),
    processes: int | None = None,
    start_method: str | None = None,
    **arguments: Any,
) -> "VecEnv":
    """The same for Stable-Baselines3: a ``DummyVecEnv`` or ``SubprocVecEnv`` that shares alike.

    Args:
        name: An environment's id.
        num_envs: Sub-environments.
        seed: Of the first; the next has the next number. None leaves them unseeded.
        wrappers: What gives the environment an action form that the algorithm takes, from the
            inside out.
        processes: As for :func:`make_vector`.
        start_method: As for :func:`make_vector`.
        arguments: As for :func:`make_vector`.

    Returns:
        The environment; each sub-environment is watched by SB3's ``Monitor``.

    Raises:
        PruneGymError: Stable-Baselines3 is not installed; data or weights are missing.
        ValueError: An argument is out of range or unknown.
    """
    try:
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.vec_env import DummyVecEnv
    except ImportError as error:
        raise PruneGymError(
            "sb3_vec_env needs Stable-Baselines3: pip install 'prune-gym[sb3]'"
        ) from error

    def make(**arguments: Any) -> gym.Env:
        return gym.make(name if ":" in name else f"prune_gym:{name}", **arguments)

    outer = (*wrappers, Monitor)
    copies, method = _copies(make, num_envs, processes, start_method, arguments, outer)
    env: VecEnv
    if method is None:
        env = DummyVecEnv([copies] * num_envs)
    else:
        env = workers.sb3_workers(copies, num_envs, method)
    if seed is not None:
        env.seed(seed)
    return env


def _vector(
    make: Callable[..., gym.Env],
    num_envs: int,
    processes: int | None,
    start_method: str | None,
    autoreset_mode: AutoresetMode | str,
    arguments: dict[str, Any],
) -> VectorEnv:
    """A vector environment of Gymnasium."""
    mode = AutoresetMode(autoreset_mode)
    copies, method = _copies(make, num_envs, processes, start_method, arguments)
    if method is None:
        return SyncVectorEnv([copies] * num_envs, autoreset_mode=mode)
    return workers.WorkerVectorEnv(copies, num_envs, method, mode)


def _copies(
    make: Callable[..., gym.Env],
    num_envs: int,
    processes: int | None,
    start_method: str | None,
    arguments: dict[str, Any],
    wrappers: Sequence[Wrapper] = (),
) -> tuple[Copies, str | None]:
    """What makes the sub-environments, and how workers start; None: no workers."""
    for name, value in (("num_envs", num_envs), ("processes", processes)):
        if value is None and name == "processes":
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
    if processes not in (None, 1, num_envs):
        raise ValueError(
            f"processes={processes} must be 1 (all in this process) or num_envs={num_envs} (a "
            "worker process for each)"
        )
    if processes in (None, 1):
        return Copies(make(**arguments), wrappers), None
    # A fork server imports torch while the first environment is made here.
    method = workers.prepare(start_method)
    threads = torch.get_num_threads()
    try:
        copies = Copies(make(**arguments | {"threads": arguments.get("threads") or 1}), wrappers)
        first = copies.pruning
        if isinstance(first, PruningEnv) and first.task.options.recovery == "lsq":
            first.task.least_squares  # noqa: B018 - computed here, once for all workers
    finally:
        # Making an environment sets them: they are the caller's, whose work goes on here.
        torch.set_num_threads(threads)
    return copies, method
