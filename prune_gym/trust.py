"""Names of code, such as ``"package.module:function"``: which are imported, and how.

Whoever types a name wants it imported. A name that a *file* holds (a run's configuration, a saved
network, a record) is imported only if it is built in, registered by an installed package, or
trusted by the user: otherwise a stranger's file could run anything.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from prune_gym.errors import SHOWN, PruneGymError

_trusted: ContextVar[frozenset[str]] = ContextVar("trusted", default=frozenset())


class UntrustedError(PruneGymError):
    """A file names code that the user did not say to trust."""


@contextmanager
def trusting(names: Iterable[str]) -> Iterator[None]:
    """Trust names of code that files hold, ``"package.module:function"`` each."""
    token = _trusted.set(_trusted.get() | frozenset(names))
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted(name: str) -> bool:
    """Whether the user trusts a name."""
    return name in _trusted.get()


def check(kind: str, name: object, is_known: Callable[[str], bool], where: str) -> None:
    """Refuse a name from a file that the user did not trust, before it is imported.

    Args:
        kind: Kind of object, ``"network"`` or ``"agent"``, for the error.
        name: The name in the file.
        is_known: Whether a name is built in or registered by an installed package.
        where: The file, for the error.

    Raises:
        UntrustedError: If the name would import a module that is not trusted.
    """
    if not isinstance(name, str) or ":" not in name or is_known(name) or is_trusted(name):
        return  # a name without a module is looked up, and imports nothing
    raise UntrustedError(
        f"{where} names the {kind} {name[:SHOWN]!r}, which would run code of the module "
        f"{name.partition(':')[0][:SHOWN]!r}. If you know it, and trust it, add "
        f"--trust {name[:SHOWN]} (in Python: trust=[{name[:SHOWN]!r}])."
    )


def import_object(name: str) -> object:
    """Import ``"package.module:object"``; the current folder is searched last.

    Raises:
        ImportError: If there is no such module.
        AttributeError: If the module has no such object.
        ValueError: If the name has another form.
    """
    module, _, attribute = name.partition(":")
    if not module or not attribute:
        raise ValueError(f"{name!r} has not the form package.module:object")
    with current_folder():
        return getattr(importlib.import_module(module), attribute)


@contextmanager
def current_folder() -> Iterator[None]:
    """Search the current folder for modules, after all others."""
    folder = os.getcwd()
    if {"", folder} & set(sys.path):
        yield
        return
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
