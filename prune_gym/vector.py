"""Vector environments with shared resources.

In one process, all sub-environments share one baseline with its data, repair references and costs.
Worker processes share the memory-mapped images; each worker has its own baseline and runs one torch
thread.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import gymnasium as gym
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.async_vector_env import AsyncState

from prune_gym.errors import PruneGymError

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv

START_METHOD = "spawn"
"""Start method of worker processes; fork would copy the locks of torch and Numba threads."""


def make_vector(
    num_envs: int = 1,
    *,
    processes: bool = False,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    **arguments: Any,
) -> VectorEnv:
    """Make a vector environment; ``gym.make_vec("PruneResNet20-v0", num_envs=2)`` calls this.

    Args:
        num_envs: Number of sub-environments.
        processes: Whether to run each sub-environment in its own process. As with all spawned
            processes, the calling script then needs ``if __name__ == "__main__":``.
        autoreset_mode: When to reset a sub-environment after the end of an episode.
        arguments: Arguments of :class:`prune_gym.envs.PruningEnv`. Without ``threads``, a single
            process uses all cores and each worker process uses one.

    Returns:
        One of Gymnasium's vector environments.

    Raises:
        ValueError: If ``num_envs`` is less than 1.
        PruneGymError: If data or weights are missing or do not fit.
    """
    if isinstance(num_envs, bool) or not isinstance(num_envs, int) or num_envs < 1:
        raise ValueError(f"num_envs={num_envs!r} must be an integer >= 1")
    from prune_gym.envs import PruningEnv

    mode = AutoresetMode(autoreset_mode)
    functions = [functools.partial(PruningEnv, **arguments)] * num_envs
    if not processes:
        return SyncVectorEnv(functions, autoreset_mode=mode)
    return WorkerProcesses(functions, context=START_METHOD, autoreset_mode=mode)


class WorkerProcesses(AsyncVectorEnv):
    """Gymnasium's worker processes, with an error that names a process that has ended."""

    def reset(self, **arguments: Any) -> Any:
        """See :meth:`AsyncVectorEnv.reset`; PruneGymError if a process has ended."""
        with self._named():
            return super().reset(**arguments)

    def step(self, actions: Any) -> Any:
        """See :meth:`AsyncVectorEnv.step`; PruneGymError if a process has ended."""
        with self._named():
            return super().step(actions)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """See :meth:`AsyncVectorEnv.call`; PruneGymError if a process has ended."""
        with self._named():
            return super().call(name, *args, **kwargs)

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """See :meth:`AsyncVectorEnv.close_extras`; without waiting for processes that ended."""
        super().close_extras(timeout, terminate or bool(self._ended()))

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            self._state = AsyncState.DEFAULT  # there is nothing to wait for
            for process in self.processes:
                process.join(0.2)  # its pipe may be closed a moment before it ends
            ended = self._ended()
            raise PruneGymError(
                f"The process of sub-environment {', '.join(ended) or 'unknown'} has ended; it may "
                "have been killed for lack of memory. Close the environment and make it again, "
                "with fewer sub-environments if memory is short."
            ) from error

    def _ended(self) -> list[str]:
        """Numbers and exit statuses of the processes that have ended."""
        return [
            f"{number} (exit status {process.exitcode})"
            for number, process in enumerate(self.processes)
            if process.exitcode is not None
        ]


def sb3_vec_env(
    name: str,
    num_envs: int = 1,
    *,
    seed: int | None = None,
    wrappers: Sequence[Callable[[gym.Env], gym.Env]] = (),
    processes: bool = False,
    **arguments: Any,
) -> "VecEnv":
    """Make a ``DummyVecEnv`` or ``SubprocVecEnv`` of Stable-Baselines3, with shared resources.

    Args:
        name: Id of the environment.
        num_envs: Number of sub-environments.
        seed: Seed of the first sub-environment; each following one adds 1. None does not seed.
        wrappers: Wrappers that convert the action space, innermost first; with ``processes`` they
            must be picklable (classes or partials).
        processes: See :func:`make_vector`.
        arguments: See :func:`make_vector`.

    Returns:
        The vector environment; each sub-environment has SB3's ``Monitor`` wrapper.

    Raises:
        PruneGymError: If Stable-Baselines3 is not installed.
        ValueError: If ``num_envs`` is less than 1.
    """
    try:
        from stable_baselines3.common.monitor import Monitor
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv
    except ImportError as error:
        from prune_gym.errors import PruneGymError

        raise PruneGymError(
            "sb3_vec_env needs Stable-Baselines3; run pip install 'prune-gym[sb3]'"
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
    name: str, wrappers: Sequence[Callable[[gym.Env], gym.Env]], arguments: dict[str, Any]
) -> gym.Env:
    """Make one sub-environment in the current process."""
    env = gym.make(name if ":" in name else f"prune_gym:{name}", **arguments)
    for wrapper in wrappers:
        env = wrapper(env)
    return env
