"""Tables: how numbers are written, Markdown for documents, and cells for the results page."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from benchmarks.metrics import Estimate

Form = Callable[[float], str]


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; every row is as long as the head."""
    first, *others = (f"| {' | '.join(cells)} |" for cells in (head, *rows))
    return "\n".join([first, "|" + "---|" * len(head), *others])


@dataclass(frozen=True)
class Cell:
    """A cell of the page: its text, and a second line in small letters."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Line:
    """A line of a table on the page: a name, with a second one in small letters, and cells."""

    name: str
    cells: list[Cell]
    control: bool = False
    best: bool = False
    small: str = ""


@dataclass(frozen=True)
class Table:
    """A table of the page; the head has (name, unit) pairs."""

    head: list[tuple[str, str]]
    lines: list[Line] = field(default_factory=list)


def percent(value: float) -> str:
    """A share as a percentage: 0.8012 is 80.12."""
    return f"{100 * value:.2f}"


def times(value: float) -> str:
    """A ratio: 3.9221 is 3.92x."""
    return f"{value:.2f}x"


def big(value: float) -> str:
    """A count with a letter for thousands: 889627428864 is 890 G."""
    for factor, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:
            return f"{value / factor:.3g} {letter}"
    return f"{value:.3g}"


def seconds(value: float) -> str:
    """Seconds; from 600 s on minutes, from ten hours on hours."""
    if value < 600:
        return f"{value:.3g} s"
    return f"{value / 60:.3g} min" if value < 36_000 else f"{value / 3600:.3g} h"


def plain(value: float) -> str:
    """Three digits."""
    return f"{value:.3g}"


def cell(found: Estimate | None, form: Form) -> Cell:
    """An estimate with its interval below; a dash without an estimate."""
    if found is None:
        return Cell("–")
    if found.low is None or found.high is None:
        return Cell(form(found.value))
    return Cell(form(found.value), between(found.low, found.high, form))


def between(low: float, high: float, form: Form) -> str:
    """An interval as text; empty if both ends read the same."""
    first, last = form(low).removesuffix("x"), form(high).removesuffix("x")
    return f"{first} – {last}" if first != last else ""
