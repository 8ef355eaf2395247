"""Mappings: how a layer is cut for an array."""

from typing import NamedTuple

DRAM_ORDERS = ("NEM", "MNE")
"""Orders of the DRAM loops, outermost first; earlier ones win ties."""


class Mapping(NamedTuple):
    """A row-stationary mapping (symbols of Chen et al., JSSC 52(1), 2017, Table III).

    Attributes:
        m: Filters whose psums the buffer holds at a time; a multiple of ``p * t``.
        n: Images of a pass.
        e: Output rows of a pass.
        p: Filters interleaved in a PE.
        q: Channels interleaved in a PE.
        r: PE sets that share the channels.
        t: PE sets that share the filters; where they hold all filters of a group, more groups.
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
    """A weight-stationary mapping: a block of the filter matrix stays while pixels stream past it.

    Attributes:
        rows: PE rows in use: terms of the dot products that a pass adds up.
        columns: PE columns in use: filters of a pass.
        n: Images whose pixels the buffer holds at a time.
        e: Output rows whose pixels the buffer holds at a time.
    """

    rows: int
    columns: int
    n: int
    e: int
