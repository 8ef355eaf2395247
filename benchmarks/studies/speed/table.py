"""A table of measured figures, each beside its reference and its target."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        what: What was measured, with its setting.
        value: The figure.
        unit: Its unit.
        reference: The same with the fast paths off, in the same unit and run; None without one.
        faster: Whether a larger figure is the better one (a rate), rather than a smaller (a time).
        target: What was aimed at, in words; empty without a target.
        met: Whether the target was met; None without a target.
    """

    what: str
    value: float
    unit: str
    reference: float | None = None
    faster: bool = False
    target: str = ""
    met: bool | None = None

    @property
    def ratio(self) -> float | None:
        """How many times better than the reference."""
        if self.reference is None:
            return None
        good, bad = (self.value, self.reference) if self.faster else (self.reference, self.value)
        return good / bad

    def as_dict(self) -> dict[str, Any]:
        """The row with its ratio, for JSON."""
        return asdict(self) | {"ratio": self.ratio}


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| what | reference | now | ratio | target |", "|---|---|---|---|---|"]
    for row in rows:
        reference = "" if row.reference is None else f"{row.reference:,.3g} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}x"
        target = row.target
        if row.met is not None:
            target = f"{target}: {'met' if row.met else '**missed**'}"
        value = f"{row.value:,.4g} {row.unit}"
        lines.append(f"| {row.what} | {reference} | {value} | {ratio} | {target} |")
    return "\n".join(lines)
