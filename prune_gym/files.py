"""The user's cache folder, and atomic writing of files."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from prune_gym.errors import WriteError


def home() -> Path:
    """Return the user's cache folder for data sets and baselines, without creating it.

    Returns:
        ``$PRUNE_GYM_HOME`` if it is set, otherwise the platform's cache folder.
    """
    return Path(os.environ.get("PRUNE_GYM_HOME") or user_cache_path("prune_gym"))


TEMPORARY = ".prune-gym-"
"""Beginning of the names of files that are being written."""
FULL = 1 << 20
"""Free bytes below which a disk counts as full."""


def is_temporary(path: Path) -> bool:
    """Whether a file is being written, or was when its process was killed."""
    return path.name.startswith(TEMPORARY)


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder that nobody else writes to."""
    for path in folder.rglob(f"{TEMPORARY}*"):
        if path.is_file() or path.is_symlink():
            path.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it.

    Raises:
        WriteError: If that is impossible; the message names the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        dangling = folder.is_symlink() and not folder.exists()
        reason = "it is a link to nothing" if dangling else error.strerror or error
        if folder.is_file():
            reason = "it is a file, not a folder"
        raise WriteError(
            f"The folder {str(folder)!r} cannot be made: {reason}. Name another."
        ) from error


@contextmanager
def named_file(path: Path) -> Iterator[None]:
    """Errors of writing name the file, whatever a library makes of a full disk.

    Raises:
        WriteError: If the file cannot be written.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        # Libraries report a full disk by exceptions of their own, often without a word of it.
        full = path.parent.is_dir() and shutil.disk_usage(path.parent).free < FULL
        if not (full or isinstance(error, OSError)):
            raise
        reason = "there is no space left" if full else f"{getattr(error, 'strerror', '') or error}"
        raise WriteError(
            f"The file {str(path)!r} cannot be written: {reason}. Free some space or make its "
            "folder writable, or name another."
        ) from error


def check_space(folder: Path, needed: int) -> None:
    """Refuse a folder on whose disk less than ``needed`` bytes are free.

    Raises:
        WriteError: If there is less space; the message names the folder.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WriteError(
            f"The disk of {str(folder)!r} has no space left for a run ({free >> 10:,} KiB are "
            f"free, {needed >> 10:,} KiB are needed). Free some space, or name another folder."
        )


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under a temporary name in the same folder, then rename it.

    Readers see either the old or the new file. If the process is killed, the old file remains.

    Args:
        path: Path of the file; its folder is created if needed.
        write: Function that writes to the temporary path, which has the same suffix.

    Returns:
        ``path``.

    Raises:
        WriteError: If the file cannot be written.
    """
    make_folder(path.parent)
    with named_file(path):
        _write_atomically(path, write)
    return path


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f"{TEMPORARY}{path.stem}-", suffix=path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically; NaN and infinity raise ``ValueError``."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append one JSON line and flush it to the disk, so that a kill loses no earlier line."""
    with named_file(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(value, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
