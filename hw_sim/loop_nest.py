"""Print a mapping as nested loops, level by level, in the style of Timeloop's ``map.txt``."""

from hw_sim.cost import LayerCost
from hw_sim.machine import machine
from hw_sim.mapping import DRAM_ORDERS, Mapping, SystolicMapping
from hw_sim.row_stationary import tiles
from hw_sim.weight_stationary import dot_product_terms

Level = tuple[str, list[tuple[str, int, str]]]


def loop_nest(cost: LayerCost) -> str:
    """Return the loops of a layer's mapping, outermost first.

    The last iteration of a loop may be smaller than the others. Loops with one iteration are
    omitted; spatial loops are marked with their direction in the array.

    Args:
        cost: Cost of a layer.

    Returns:
        Text with one loop per line.

    Example:
        >>> from hw_sim import Accelerator, ConvLayer, search
        >>> layer = ConvLayer("fc", 1, 4, 10, 1, 1, kernel=(1, 1))
        >>> print(loop_nest(search(layer, Accelerator.preset("eyeriss"), "energy")))
        fc on eyeriss: Mapping(m=10, n=1, e=1, p=10, q=4, r=1, t=1, dram_order='NEM')
        DRAM [ ifmap:4 filter:40 psum:10 words ]
        Buffer [ ifmap:4 psum:20 words ]
        Array [ ifmap:4 filter:40 psum:10 words ]
        PE [ ifmap:44 filter:80 psum:80 words ]
        | for c in 0..4
        |   for m in 0..10
    """
    mapping = cost.mapping
    levels = (
        _row_stationary(cost, mapping) if isinstance(mapping, Mapping) else _systolic(cost, mapping)
    )
    lines = [f"{cost.layer.name} on {cost.accelerator.name}: {cost.mapping}"]
    depth = 0
    for (title, loops), level in zip(levels, ("dram", "buffer", "noc", "rf"), strict=True):
        words = " ".join(f"{name}:{count}" for name, count in cost.counts[level].items())
        lines.append(f"{title} [ {words} words ]")
        for variable, turns, note in loops:
            if turns > 1:
                lines.append(f"| {'  ' * depth}for {variable} in 0..{turns}{note}")
                depth += 1
    return "\n".join(lines)


def _row_stationary(cost: LayerCost, mapping: Mapping) -> list[Level]:
    m, n, e, p, q, r, t, order = mapping
    s, h = cost.layer.shape, machine(cost.accelerator)
    x = tiles(s, h, e, n, m, p, q, r, t, DRAM_ORDERS.index(order))
    outer = {"N": ("N", x.nN, ""), "E": ("E", x.nE, ""), "M": ("M", x.nH, "")}
    held_blocks = min(-(-m // (p * x.tm)), x.nM)
    vertical, horizontal = " (spatial, rows)", " (spatial, columns)"
    return [
        ("DRAM", [("G", x.nG, ""), *(outer[axis] for axis in order)]),
        ("Buffer", [("C", x.nC, ""), ("M", held_blocks, ""), ("R", x.folds, "")]),
        (
            "Array",
            [
                ("R", -(-s.R // x.folds), vertical),
                ("C", min(r, s.C), " (spatial, sets)"),
                ("G", x.k, " (spatial, sets)"),
                ("M", min(x.tm, s.M), " (spatial, sets)"),
                ("E", e, horizontal),
            ],
        ),
        (
            "PE",
            [
                ("n", n, ""),
                ("f", s.F, ""),
                ("c", min(q, -(-s.C // r)), ""),
                ("s", s.S, ""),
                ("m", min(p, -(-s.M // x.tm)), ""),
            ],
        ),
    ]


def _systolic(cost: LayerCost, mapping: SystolicMapping) -> list[Level]:
    rows, columns, n, e = mapping
    s = cost.layer.shape
    terms, turns = dot_product_terms(s, machine(cost.accelerator))
    name = "C" if cost.accelerator.dataflow == "broadcast" else "CRS"
    return [
        ("DRAM", [("G", s.G, ""), ("N", -(-s.N // n), ""), ("E", -(-s.E // e), "")]),
        (
            "Buffer",
            [("M", -(-s.M // columns), ""), ("RS", turns, ""), (name, -(-terms // rows), "")],
        ),
        (
            "Array",
            [
                (name, min(rows, terms), " (spatial, rows)"),
                ("M", min(columns, s.M), " (spatial, columns)"),
            ],
        ),
        ("PE", [("n", n, ""), ("e", e, ""), ("f", s.F, "")]),
    ]
