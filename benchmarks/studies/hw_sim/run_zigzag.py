"""Script for ZigZag's virtual environment: layers on stdin, time and cycles on stdout.

The hardware is ZigZag's own ``eyeriss_like`` (14 x 12 MACs), the mapping its default.
"""

import contextlib
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def as_workload(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The layers in ZigZag's form, independent of each other."""
    return [
        {
            "id": index,
            "name": layer["name"],
            "operator_type": "Conv",
            "equation": "O[b][g][k][oy][ox]+=W[g][k][c][fy][fx]*I[b][g][c][iy][ix]",
            "dimension_relations": [
                f"ix={layer['stride']}*ox+1*fx",
                f"iy={layer['stride']}*oy+1*fy",
            ],
            "loop_dims": ["B", "G", "K", "C", "OY", "OX", "FY", "FX"],
            "loop_sizes": [
                *(1, 1, layer["out_channels"], layer["in_channels"]),
                *(layer["out"], layer["out"], layer["kernel"], layer["kernel"]),
            ],
            "operand_precision": {"W": 8, "I": 8, "O": 16, "O_final": 8},
            "operand_source": {"I": index, "W": index},
        }
        for index, layer in enumerate(layers)
    ]


def main() -> None:
    """Cost the layers, independent of each other, and print the total."""
    import zigzag  # type: ignore[import-not-found]
    from zigzag.api import get_hardware_performance_zigzag  # type: ignore[import-not-found]

    layers = json.load(sys.stdin)
    inputs = Path(zigzag.__path__[0]) / "inputs"
    logging.disable(logging.CRITICAL)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        _, cycles, _ = get_hardware_performance_zigzag(
            as_workload(layers),
            str(inputs / "hardware" / "eyeriss_like.yaml"),
            str(inputs / "mapping" / "default.yaml"),
            opt="energy",
            dump_folder=folder,
            loma_show_progress_bar=False,
        )
    print(json.dumps({"seconds": time.perf_counter() - start, "cycles": int(cycles)}))


if __name__ == "__main__":
    main()
