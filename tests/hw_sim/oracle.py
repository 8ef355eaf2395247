"""A loop nest that executes a row-stationary mapping pass by pass and counts all accesses.

It is slow and literal: it lists coordinates, collects words in sets, and tracks the contents of the
buffers. It shares no formula with ``hw_sim.row_stationary``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from math import ceil

from hw_sim import Accelerator, ConvLayer, Mapping


def blocks(total: int, size: int) -> list[range]:
    return [range(start, min(start + size, total)) for start in range(0, total, size)]


@dataclass
class Trace:
    """Accesses of one execution: MACs as coordinates, words as counts."""

    macs: set = field(default_factory=set)
    repeated_macs: int = 0
    buffer_ifmap: int = 0
    buffer_psum: int = 0
    noc_ifmap: int = 0
    noc_filter: int = 0
    noc_psum: int = 0
    dram_ifmap: int = 0
    dram_filter: int = 0
    outputs: set = field(default_factory=set)
    cycles: Fraction = Fraction(0)
    compute: int = 0


@dataclass(frozen=True)
class Pass:
    groups: range
    images: range
    rows: range
    filters: range
    channels: range
    kernel_rows: range
    exchange: int


def passes(layer: ConvLayer, accelerator: Accelerator, mapping: Mapping) -> Iterator[Pass]:
    m, n, e, p, q, r, t, order = mapping
    per_group_m = layer.out_channels // layer.groups
    per_group_c = layer.in_channels // layer.groups
    sets_per_group = t
    together = 1
    if layer.groups > 1 and t // ceil(per_group_m / p) >= 2:
        sets_per_group = ceil(per_group_m / p)
        together = min(t // sets_per_group, layer.groups)
    fold = ceil(layer.kernel[0] / ceil(layer.kernel[0] / accelerator.array_rows))
    for groups in blocks(layer.groups, together):
        images = blocks(layer.batch, n)
        rows = blocks(layer.out_height, e)
        held = list(enumerate(blocks(per_group_m, m)))
        if order == "NEM":
            outer = [(i, y, h) for i in images for y in rows for h in held]
        else:
            outer = [(i, y, h) for h in held for i in images for y in rows]
        for i, y, (exchange, filters_held) in outer:
            for channels in blocks(per_group_c, q * r):
                for start in range(filters_held.start, filters_held.stop, p * sets_per_group):
                    stop = min(start + p * sets_per_group, filters_held.stop)
                    for kernel_rows in blocks(layer.kernel[0], fold):
                        f = range(start, stop)
                        yield Pass(groups, i, y, f, channels, kernel_rows, exchange)


def run(layer: ConvLayer, accelerator: Accelerator, mapping: Mapping) -> Trace:
    trace = Trace()
    ifmap_tile = None
    filter_buffer: set = set()
    scope = None
    for one in passes(layer, accelerator, mapping):
        _work(trace, layer, accelerator, mapping, one)
        tile = (one.groups, one.images, one.rows, one.channels)
        if tile != ifmap_tile:
            trace.dram_ifmap += _fetched(layer, one)
            ifmap_tile = tile
        words = set(
            product(one.groups, one.filters, one.channels, one.kernel_rows, range(layer.kernel[1]))
        )
        now = (one.groups, one.exchange if mapping.dram_order == "MNE" else None)
        if now != scope:
            scope, filter_buffer = now, set()
        trace.dram_filter += len(words - filter_buffer)
        if _filters_fit(layer, accelerator, mapping, one):
            filter_buffer |= words
    return trace


def _filters_fit(layer: ConvLayer, accelerator: Accelerator, mapping: Mapping, one: Pass) -> bool:
    """Whether all filters that are reused while images and rows change fit in the buffer."""
    per_group = layer.out_channels // layer.groups
    held = per_group if mapping.dram_order == "NEM" else min(mapping.m, per_group)
    # A smaller last block of groups counts as a full one.
    groups = len(next(passes(layer, accelerator, mapping)).groups)
    words = groups * held * layer.weights // layer.out_channels
    return words * accelerator.word_bits <= 8 * accelerator.filter_buffer_bytes


def read_rows(layer: ConvLayer, outputs: range, taps: range) -> set[int]:
    """Rows, in the padded map, that output rows read with some of the kernel's rows."""
    return {y * layer.stride[0] + i * layer.dilation[0] for y in outputs for i in taps}


def read_columns(layer: ConvLayer) -> set[int]:
    """Columns, in the padded map, that the outputs read."""
    (_, stride), (_, dilation) = layer.stride, layer.dilation
    return {
        x * stride + j * dilation for x in range(layer.out_width) for j in range(layer.kernel[1])
    }


def _fetched(layer: ConvLayer, one: Pass) -> int:
    """Ifmap words of a tile in DRAM; padding counts only where an earlier block read it too."""
    taps, ((top, _), (left, _)) = range(layer.kernel[0]), layer.padding
    rows = read_rows(layer, one.rows, taps)
    new = rows - read_rows(layer, range(one.rows.start), taps)
    padding = [row for row in new if not top <= row < top + layer.in_height]
    columns = [x for x in read_columns(layer) if left <= x < left + layer.in_width]
    tiles = len(one.groups) * len(one.images) * len(one.channels)
    return tiles * (len(rows) - len(padding)) * len(columns)


def _work(
    trace: Trace, layer: ConvLayer, accelerator: Accelerator, mapping: Mapping, one: Pass
) -> None:
    s, f = layer.kernel[1], layer.out_width
    g, n, y = len(one.groups), len(one.images), len(one.rows)
    m, c, k = len(one.filters), len(one.channels), len(one.kernel_rows)
    macs = set(
        product(
            one.groups,
            one.images,
            one.filters,
            one.channels,
            one.rows,
            range(f),
            one.kernel_rows,
            range(s),
        )
    )
    trace.repeated_macs += len(macs & trace.macs)
    trace.macs |= macs
    trace.outputs |= set(product(one.groups, one.images, one.filters, one.rows, range(f)))
    width = len(read_columns(layer))
    ifmap = g * n * c * len(read_rows(layer, one.rows, one.kernel_rows)) * width
    psums = g * n * m * y * f
    filters = g * m * c * k * s
    trace.buffer_ifmap += ifmap
    trace.buffer_psum += 2 * psums
    sets = mapping.t if len(next(passes(layer, accelerator, mapping)).groups) == 1 else 1
    if sets == 1 and mapping.t > 1:
        sets = ceil(layer.out_channels // layer.groups / mapping.p)
    for _kernel_row, _row in product(one.kernel_rows, one.rows):
        trace.noc_ifmap += g * n * c * width * sets
        trace.noc_filter += g * m * c * s
    trace.noc_psum += psums * k * mapping.r
    load = [0] * (sets * mapping.r)
    for i, j in product(range(m), range(c)):
        load[i % sets * mapping.r + j % mapping.r] += 1
    compute = n * f * s * max(load)
    ports = accelerator
    times = [
        Fraction(compute),
        Fraction(psums, ports.psum_port_words_per_cycle),
        Fraction(ifmap, ports.ifmap_port_words_per_cycle),
    ]
    load_time = Fraction(filters, ports.filter_port_words_per_cycle)
    hidden = ports.filter_load_overlaps
    trace.cycles += max([*times, load_time]) if hidden else max(times) + load_time
    trace.cycles += ports.pass_overhead_cycles
    trace.compute += compute
