"""Manifests: checksums of a folder's files, by which damage is found when they are read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from prune_gym.errors import DamagedError
from prune_gym.files import is_temporary, sha256, write_json
from prune_gym.jsonfile import JsonRecord, read_json

MANIFEST = "manifest.json"
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class Manifest(JsonRecord):
    """SHA-256 of each file of a folder, by its path in the folder."""

    SCHEMA = 1

    sha256: Mapping[str, Digest]


def seal(folder: Path) -> None:
    """Write the manifest of a folder, with all files that are in it, at any depth.

    It is written last: a folder that has one is complete.
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _left_out(path))
    digests = {path.relative_to(folder).as_posix(): sha256(path) for path in found}
    write_json(folder / MANIFEST, Manifest(digests).to_json())


def unseal(folder: Path) -> None:
    """Remove the manifest of a folder that is about to change."""
    (folder / MANIFEST).unlink(missing_ok=True)


def sealed(folder: Path) -> bool:
    """Whether a folder has a manifest."""
    return (folder / MANIFEST).is_file()


def check(folder: Path, remedy: str, only: Iterable[str] | None = None) -> None:
    """Compare the files of a folder with its manifest.

    Args:
        folder: Folder that :func:`seal` has completed.
        remedy: What to do about damage, for the error.
        only: Names of files to check; None for all.

    Raises:
        DamagedError: If the manifest is missing, or a file is missing or has changed; the message
            names it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise DamagedError(f"{str(folder)!r} is incomplete: there is no {MANIFEST}. {remedy}")
    listed = Manifest.from_json(*read_json(path)).sha256
    for name in listed if only is None else only:
        file = folder / name
        if name not in listed or not file.is_file():
            raise DamagedError(f"{str(file)!r} is missing. {remedy}")
        if sha256(file) != listed[name]:
            raise DamagedError(
                f"{str(file)!r} is damaged: its checksum is not that of {MANIFEST}. {remedy}"
            )


def _left_out(path: Path) -> bool:
    """Whether a file has no place in a manifest."""
    return path.name == MANIFEST or is_temporary(path)
