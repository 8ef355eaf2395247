"""Copies of one environment that share its task, in one process or in several.

One environment is made, and all others are copies of it: data, baseline, repair targets and cost
tables are neither loaded nor computed again. Within a process they are the same objects. On the
way to a worker process large tensors move to shared memory, and a named data set is opened again
by its name, which maps the same file.
"""

import copy
import io
import os
import pickle
import signal
from collections.abc import Callable, Sequence
from typing import Any

import cloudpickle
import gymnasium as gym
import torch
from torch.multiprocessing import reductions

SHARED_BYTES = 1 << 20
"""Tensors from this size on are shared between processes. Each takes a file descriptor, of which
a fork server passes on 250 at most; smaller tensors are copied."""

Wrapper = Callable[[gym.Env], gym.Env]


class Copies:
    """Makes environments that share the task of one; picklable for worker processes.

    Args:
        env: The first. It is made and not reset, and only ever copied.
        wrappers: Put around each copy, from the inside out.
    """

    def __init__(self, env: gym.Env, wrappers: Sequence[Wrapper] = ()) -> None:
        self.env, self.wrappers = env, tuple(wrappers)

    @property
    def pruning(self) -> Any:
        """The first environment, unwrapped."""
        return self.env.unwrapped

    def __call__(self) -> gym.Env:
        """An environment of its own."""
        task = self.pruning.task
        # A deep copy leaves alone what stands in its memo.
        shared = {id(part): part for part in (task, *vars(task).values())}
        env = copy.deepcopy(self.env, shared)
        for wrapper in self.wrappers:
            env = wrapper(env)
        return env

    def __reduce__(self) -> tuple[Any, ...]:
        buffer = io.BytesIO()
        _Pickler(buffer).dump((self.env, self.wrappers))
        return _in_worker, (os.environ.get("PRUNE_GYM_HOME"), buffer.getvalue())


class _Pickler(cloudpickle.Pickler):
    """Pickles large tensors as references to shared memory, to which it moves them."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is torch.Tensor and obj.device.type == "cpu":
            storage = obj.untyped_storage()
            if storage.nbytes() >= SHARED_BYTES:
                place = obj.storage_offset(), obj.shape, obj.stride()
                return _tensor, (storage, obj.dtype, *place)
        if isinstance(obj, torch.UntypedStorage):
            return reductions.reduce_storage(obj)
        return super().reducer_override(obj)


def _tensor(storage: torch.UntypedStorage, dtype: torch.dtype, *place: Any) -> torch.Tensor:
    return torch.empty(0, dtype=dtype).set_(storage, *place)


def _in_worker(home: str | None, contents: bytes) -> Copies:
    """Prepare a worker process, and unpickle what it works with."""
    # Ctrl-C reaches all processes of a terminal; what becomes of workers is the caller's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A fork server has the environment variables of the time when it started.
    if home is not None:
        os.environ["PRUNE_GYM_HOME"] = home
    copies = Copies(*pickle.loads(contents))
    torch.set_num_threads(copies.pruning.threads)
    return copies
