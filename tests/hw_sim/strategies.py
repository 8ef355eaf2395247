"""Random small layers and accelerators."""

from dataclasses import replace

from hypothesis import strategies as st

from hw_sim import Accelerator, ConvLayer

BASE = Accelerator.preset("eyeriss")


@st.composite
def layers(draw, largest=6, groups=(1, 1, 1, 2, 3)):
    g = draw(st.sampled_from(groups))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 3)))
    dilation = (draw(st.sampled_from([1, 1, 2, 3])), draw(st.sampled_from([1, 1, 2])))
    sides = st.tuples(st.integers(0, 2), st.integers(0, 2))
    padding = (draw(sides), draw(sides))
    least = [
        max(d * (k - 1) + 1 - sum(side), 1)
        for k, d, side in zip(kernel, dilation, padding, strict=True)
    ]
    strides = st.integers(1, 5)
    return ConvLayer(
        "random",
        draw(st.integers(1, 3)),
        g * draw(st.integers(1, largest)),
        g * draw(st.integers(1, largest)),
        draw(st.integers(least[0], max(largest + 1, least[0]))),
        draw(st.integers(least[1], max(largest, least[1]))),
        kernel,
        (draw(strides), draw(strides)),
        padding,
        g,
        draw(st.sampled_from([0, 1234, 10_000])),
        dilation,
    )


@st.composite
def accelerators(draw, smallest=2):
    return replace(
        BASE,
        name="random",
        array_rows=draw(st.integers(smallest, 7)),
        array_columns=draw(st.integers(smallest, 7)),
        ifmap_pad_words=draw(st.integers(3, 9)),
        filter_pad_words=draw(st.integers(3, 30)),
        psum_pad_words=draw(st.integers(1, 4)),
        buffer_banks=draw(st.integers(4, 9)),
        buffer_bank_bytes=draw(st.sampled_from([64, 256])),
        filter_buffer_bytes=draw(st.sampled_from([2, 64, 512])),
        ifmap_port_words_per_cycle=draw(st.integers(1, 4)),
        filter_port_words_per_cycle=draw(st.integers(1, 4)),
        psum_port_words_per_cycle=draw(st.integers(1, 4)),
        dram_words_per_cycle=draw(st.sampled_from([None, 1, 3])),
        fill_and_drain=draw(st.booleans()),
        filter_load_overlaps=draw(st.booleans()),
        pass_overhead_cycles=draw(st.sampled_from([0, 5])),
        static_power_uw=draw(st.sampled_from([0, 70_000])),
    )
