"""The page: tables and figures of all groups in one file that needs no other."""

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from benchmarks.groups import Group, group
from benchmarks.metrics import shared_scores
from benchmarks.report import tables
from benchmarks.report.sections import Picture, profile_picture, section
from benchmarks.report.style import styles
from benchmarks.results import Result
from prune_gym import __version__
from prune_gym.errors import PruneGymError
from prune_gym.files import write_atomically

PAGE = "index.html"
FIGURES = "figures"
DPI = 144


@dataclass
class _Album:
    """Writes figures as files and data URIs."""

    folder: Path
    written: list[Path] = field(default_factory=list)

    def uri(self, picture: Picture) -> str:
        """Write the PNG of a picture, and return it as a data URI."""
        buffer = io.BytesIO()
        picture.figure.savefig(buffer, format="png", dpi=DPI, facecolor="white")
        data = buffer.getvalue()
        path = self.folder / f"{picture.name}.png"
        write_atomically(path, lambda temporary: temporary.write_bytes(data))
        self.written.append(path)
        return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def write_report(
    found: Iterable[Result],
    out: str | Path,
    notes: Sequence[str] = (),
    title: str = "Pruning report",
) -> list[Path]:
    """Write the page of runs and its figures.

    Args:
        found: Runs, as :func:`benchmarks.results.load` reads them.
        out: Folder for ``index.html`` and ``figures/*.png``; files of these names are replaced.
        notes: Statements for the head of the page, for example about the data set.
        title: Heading of the page.

    Returns:
        The files written, the page first.
    """
    # Each source once, however often it was named.
    results = list({result.source: result for result in found}.values())
    if not results:
        raise PruneGymError("There is nothing to report: name runs or files of records.")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise PruneGymError(f"--out {str(out)!r} is a file, not a folder. Name a folder.")
    groups = group([result for result in results if result.finished])
    album = _Album(out / FIGURES)
    text = _render(results, groups, album, notes, title)
    page = write_atomically(out / PAGE, lambda path: path.write_text(text, encoding="utf-8"))
    return [page, *album.written]


def _render(
    results: Sequence[Result],
    groups: Sequence[Group],
    album: _Album,
    notes: Sequence[str],
    title: str,
) -> str:
    looks = styles(row.label for member in groups for row in member.rows)
    sections = [section(member, number, looks) for number, member in enumerate(groups, start=1)]
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["uri"] = album.uri
    source = resources.files("benchmarks.report").joinpath("page.html").read_text("utf-8")
    context: dict[str, Any] = {
        "title": title,
        "notes": notes,
        "version": __version__,
        "finished": sum(result.finished for result in results),
        "sections": sections,
        "unfinished": [result for result in results if not result.finished],
        "repeats": [result for member in groups for result in member.repeats],
        "overall": tables.overall(groups),
        "profiles": profile_picture(groups, looks) if shared_scores(groups) else None,
        "several": len(groups) > 1,
    }
    return environment.from_string(source).render(context)
