"""Style of the figures: one colour, marker and line for an agent on the whole page."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from benchmarks.groups import CONTROLS
from benchmarks.statistics.aggregate import Interval

# Okabe and Ito's colours, which colour-blind readers can distinguish, without yellow, which is
# hard to see on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#777777"


class Style(NamedTuple):
    """Colour, marker and line of an agent."""

    colour: str
    marker: str
    line: str


Styles = Mapping[str, Style]
"""Styles by the label of a row."""


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """A style for each label of a row: the name of an agent, and settings if any.

    Controls have dashed lines. With more agents than colours, markers distinguish them.
    """
    result: dict[str, Style] = {}
    for label in dict.fromkeys(labels):
        number = len(result)
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[(number + number // len(COLOURS)) % len(MARKERS)]
        line = "--" if label.split(" ")[0] in CONTROLS else "-"
        result[label] = Style(colour, marker, line)
    return result


def percent(value: float, _place: float = 0) -> str:
    """The label of a tick: a share as a percentage."""
    return f"{100 * value:g}"


def clean(axes: Any, x: str = "", y: str = "") -> None:
    """Remove the upper and right frame, add a light grid, and label the axes."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for axis, label in ((axes.xaxis, x), (axes.yaxis, y)):
        if label.endswith("(%)"):
            axis.set_major_formatter(percent)


def curve(axes: Any, x: Any, y: Any, style: Style, label: str, **more: Any) -> None:
    """A stepped line."""
    axes.plot(
        x, y, style.line, color=style.colour, linewidth=1.8, drawstyle="steps-post",
        label=label, **more,
    )  # fmt: skip


def band(axes: Any, x: Any, interval: Interval, style: Style) -> None:
    """The interval of a stepped line."""
    axes.fill_between(x, *interval, step="post", color=style.colour, alpha=0.15, linewidth=0)


def outside_legend(figure: Any, axes: Any) -> None:
    """One legend for the figure, right of it."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=9)
