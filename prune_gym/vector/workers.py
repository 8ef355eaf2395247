"""Vector environments whose sub-environments run in worker processes of their own."""

import functools
import multiprocessing
import sys
from collections.abc import Callable, Iterable
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, TypeVar

from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from prune_gym.errors import PruneGymError
from prune_gym.vector.copies import Copies

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import SubprocVecEnv

START_METHODS = ("forkserver", "spawn")
Method = TypeVar("Method", bound=Callable[..., Any])


class WorkerError(PruneGymError):
    """A worker process is gone."""


def prepare(start_method: str | None) -> str:
    """Get ready to start worker processes.

    Args:
        start_method: ``"forkserver"`` (workers are forked from a process that has imported torch
            and run nothing; it is started here, to import meanwhile) or ``"spawn"`` (each worker
            imports torch itself). None: the former on Linux, else the latter.

    Returns:
        The start method.

    Raises:
        ValueError: Another one. Plain ``"fork"`` copies the locks of torch's and Numba's threads
            without the threads.
    """
    chosen = start_method or ("forkserver" if sys.platform == "linux" else "spawn")
    if chosen not in START_METHODS or chosen not in multiprocessing.get_all_start_methods():
        raise ValueError(f"start_method={start_method!r} must be one of {START_METHODS}")
    if chosen == "forkserver":
        # Without effect where the program has a fork server already: workers import for themselves.
        forkserver.set_forkserver_preload(["__main__", "prune_gym.envs"])
        forkserver.ensure_running()
    return chosen


def _guarded(method: Method) -> Method:
    """A method behind whose failure no worker is left, and that says where one is gone."""

    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except (EOFError, ConnectionError) as error:
            raise WorkerError(
                f"A worker process has ended (exit codes: {_end(self)}; -9 is mostly the system's, "
                "for want of memory). What it printed stands above. A script that starts workers "
                "needs `if __name__ == '__main__':`; with processes=1 there are none."
            ) from error
        except KeyboardInterrupt:
            _end(self)  # an answer may have been cut in two
            raise

    return guarded  # type: ignore[return-value]


def _end(env: Any) -> list[int | None]:
    """Terminate the workers of a vector environment, which is closed then; their exit codes."""
    processes = getattr(env, "processes", [])
    for process in processes:
        process.join(0.2)  # one that failed is about to end by itself
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.terminate()
        process.join()
    for pipe in (*getattr(env, "parent_pipes", ()), *getattr(env, "remotes", ())):
        if pipe is not None:
            pipe.close()
    env.closed = True
    return codes


class WorkerVectorEnv(AsyncVectorEnv):
    """Gymnasium's ``AsyncVectorEnv``, which hangs on no worker and leaves none behind.

    An error of a sub-environment is raised here with its own class and message, and the end of a
    worker as :class:`WorkerError`; either, and Ctrl-C, closes the vector environment.

    Args:
        copies: Makes the sub-environments.
        num_envs: How many.
        start_method: What :func:`prepare` returned.
        autoreset_mode: As for ``AsyncVectorEnv``.
    """

    @_guarded
    def __init__(
        self, copies: Copies, num_envs: int, start_method: str, autoreset_mode: AutoresetMode
    ) -> None:
        functions = [copies] * num_envs
        super().__init__(functions, context=start_method, autoreset_mode=autoreset_mode)

    reset_async = _guarded(AsyncVectorEnv.reset_async)
    reset_wait = _guarded(AsyncVectorEnv.reset_wait)
    step_async = _guarded(AsyncVectorEnv.step_async)
    step_wait = _guarded(AsyncVectorEnv.step_wait)
    call_async = _guarded(AsyncVectorEnv.call_async)
    call_wait = _guarded(AsyncVectorEnv.call_wait)
    set_attr = _guarded(AsyncVectorEnv.set_attr)

    def _raise_if_errors(self, successes: Iterable[bool]) -> None:
        # Gymnasium's own makes the error anew from its text, and warns, which may be an error too.
        if not all(successes):
            index, _, error, trace = self.error_queue.get()
            _end(self)
            error.add_note(f"In worker process {index}:\n{trace}")
            raise error

    def close_extras(self, timeout: float | None = None, terminate: bool = False) -> None:
        """As ``AsyncVectorEnv``'s; workers that are gone are no error."""
        try:
            super().close_extras(timeout, terminate)
        except (EOFError, ConnectionError):
            _end(self)


def sb3_workers(copies: Copies, num_envs: int, start_method: str) -> "SubprocVecEnv":
    """Stable-Baselines3's ``SubprocVecEnv`` with the same clear end.

    A worker prints its error itself; here it is a :class:`WorkerError`.

    Args:
        copies: Makes the sub-environments.
        num_envs: How many.
        start_method: What :func:`prepare` returned.
    """
    from stable_baselines3.common.vec_env import SubprocVecEnv

    class WorkerVecEnv(SubprocVecEnv):
        __init__ = _guarded(SubprocVecEnv.__init__)
        reset = _guarded(SubprocVecEnv.reset)
        step_async = _guarded(SubprocVecEnv.step_async)
        step_wait = _guarded(SubprocVecEnv.step_wait)
        get_attr = _guarded(SubprocVecEnv.get_attr)
        set_attr = _guarded(SubprocVecEnv.set_attr)
        env_method = _guarded(SubprocVecEnv.env_method)

    return WorkerVecEnv([copies] * num_envs, start_method=start_method)
