"""Where files live and how they are written: never half, never pickled."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path


def home() -> Path:
    """The user's cache folder for data sets and baselines.

    Returns:
        ``$PRUNE_GYM_HOME`` where it is set, else the platform's cache folder. Not created here.
    """
    return Path(os.environ.get("PRUNE_GYM_HOME") or user_cache_path("prune_gym"))


def write_atomically(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file under a temporary name in its folder, then rename it into place.

    A reader sees the old file or the new one, and a killed writer leaves the old one.

    Args:
        path: The file to write; its folder is made.
        write: Called with the temporary path, which has the same suffix.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> Path:
    """Write ``value`` as indented JSON, atomically; NaN and infinity are refused."""
    text = json.dumps(value, indent=2, allow_nan=False) + "\n"
    return write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
