"""Mappings: how a layer is divided into passes of the array."""

from typing import NamedTuple

DRAM_ORDERS = ("NEM", "MNE")
"""Orders of the DRAM loops, outermost first; on a tie, the first one wins."""


class Mapping(NamedTuple):
    """A row-stationary mapping (symbols of Chen et al., JSSC 52(1), 2017, Table III).

    Attributes:
        m: Filters whose psums the buffer holds at a time; a multiple of ``p * t``.
        n: Images per pass.
        e: Output rows per pass.
        p: Filters interleaved in a PE.
        q: Channels interleaved in a PE.
        r: PE sets that share the channels.
        t: PE sets that share the filters; if they hold all filters of one group, the remaining
            sets process more groups.
        dram_order: Loops outside the buffer, outermost first: ``"NEM"`` keeps an ifmap tile while
            the filters change, ``"MNE"`` keeps filters while the images and rows change.
    """

    m: int
    n: int
    e: int
    p: int
    q: int
    r: int
    t: int
    dram_order: str = DRAM_ORDERS[0]


class SystolicMapping(NamedTuple):
    """A weight-stationary mapping: the PEs keep a block of the filter matrix and stream pixels.

    Attributes:
        rows: PE rows in use: terms of each dot product that a pass sums.
        columns: PE columns in use: filters per pass.
        n: Images whose pixels the buffer holds at a time.
        e: Output rows whose pixels the buffer holds at a time.
    """

    rows: int
    columns: int
    n: int
    e: int
