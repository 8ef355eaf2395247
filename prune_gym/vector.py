"""Several environments at a time, sharing what they can.

In one process the sub-environments share one baseline: its data, repair references and cost
tables exist once. Worker processes share the memory-mapped images; each has a baseline of its own
and runs one torch thread.
"""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

START_METHOD = "spawn"
"""Fork would copy the threads' locks of torch and Numba, but not the threads."""


def make_vector(
    num_envs: int = 1,
    *,
    processes: bool = False,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **arguments: Any,
) -> VectorEnv:
    """The vector entry point of the ids: ``gym.make_vec("PruneResNet20-v0", num_envs=2)``.

    Args:
        num_envs: Sub-environments.
        processes: A worker process for each, in place of one process for all. A script that asks
            for it needs ``if __name__ == "__main__":``, as with every spawned process.
        autoreset_mode: When a sub-environment is reset after an episode's end.
        arguments: Of :class:`prune_gym.envs.PruningEnv`; without ``threads`` one process uses all
            cores and worker processes one each.

    Returns:
        Gymnasium's own vector environment.

    Raises:
        ValueError: Less than one sub-environment.
        PruneGymError: Data or weights are missing or do not fit.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"num_envs={num_envs!r} must be a whole number of at least 1")
    mode = AutoresetMode(autoreset_mode)
    functions = [functools.partial(_make, None, (), arguments)] * num_envs
    if not processes:
        return SyncVectorEnv(functions, autoreset_mode=mode)
    return AsyncVectorEnv(functions, context=START_METHOD, autoreset_mode=mode)


def sb3_vec_env(
    name: str,
    num_envs: int = 1,
    *,
    seed: int | None = None,
    wrappers: Sequence[Callable[[gym.Env], gym.Env]] = (),
    processes: bool = False,
    **arguments: Any,
) -> "VecEnv":
    """The same for Stable-Baselines3: a ``DummyVecEnv`` or ``SubprocVecEnv`` that shares alike.

    Args:
        name: An environment's id.
        num_envs: Sub-environments.
        seed: Of the first; the next has the next number. None leaves them unseeded.
        wrappers: What gives the environment an action form that the algorithm takes, from the
            inside out; with ``processes`` they must be picklable (classes, partials).
        processes: As for :func:`make_vector`.
        arguments: As for :func:`make_vector`.

    Returns:
        The environment; each sub-environment is watched by SB3's ``Monitor``.

    Raises:
        PruneGymError: Stable-Baselines3 is not installed.
        ValueError: Less than one sub-environment.
    """
    try:
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
    except ImportError as error:
        from prune_gym.errors import PruneGymError

        raise PruneGymError(
            "sb3_vec_env needs Stable-Baselines3: pip install 'prune-gym[sb3]'"
        ) from error
    if num_envs < 1:
        raise ValueError(f"num_envs={num_envs} must be at least 1")
    make = functools.partial(_make, name, (*wrappers, Monitor), arguments)
    functions: list[Callable[[], gym.Env]] = [make] * num_envs
    env: VecEnv
    if processes:
        env = SubprocVecEnv(functions, start_method=START_METHOD)
    else:
        env = DummyVecEnv(functions)
    if seed is not None:
        env.seed(seed)
    return env


def _make(
    name: str | None, wrappers: Sequence[Callable[[gym.Env], gym.Env]], arguments: dict[str, Any]
) -> gym.Env:
    """One sub-environment, in whatever process this runs."""
    if name is None:
        from prune_gym.envs import PruningEnv

        return PruningEnv(**arguments)
    env = gym.make(name if ":" in name else f"prune_gym:{name}", **arguments)
    for wrapper in wrappers:
        env = wrapper(env)
    return env
