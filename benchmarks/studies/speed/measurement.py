"""Measured values beside their references and targets."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import tables


@dataclass(frozen=True)
class Measurement:
    """One measured value, and its aim if there is one.

    The reference is the value with the fast paths off, of the same run. ``faster`` means that
    larger is better (a rate) rather than smaller (a time).
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


def markdown(measured: Sequence[Measurement]) -> str:
    """The measurements as a Markdown table."""
    rows = []
    for each in measured:
        target = each.target
        if each.met is not None:
            target = f"{target}: {'met' if each.met else '**missed**'}"
        before = "" if each.reference is None else f"{each.reference:,.3g} {each.unit}"
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}x"
        rows.append([each.what, before, f"{each.value:,.4g} {each.unit}", ratio, target])
    return tables.markdown(["what", "reference", "now", "ratio", "target"], rows)
