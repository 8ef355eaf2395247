"""Script for nn_dataflow's virtual environment: layers on stdin, time and cycles on stdout.

Eyeriss as nn_dataflow describes it: 12 x 14 PEs, 108 KB of buffer, 520 bytes in a PE, 16-bit words,
no limit on the buses, costs 1, 1, 2, 6, 200, mappings by energy.
"""

import json
import sys
import time
from typing import Any


def main() -> None:
    """Search the layers, a chain, and print the total."""
    from nn_dataflow.core import (  # type: ignore[import-not-found]
        ConvLayer,
        Cost,
        InputLayer,
        MapStrategyEyeriss,
        Network,
        NNDataflow,
        NodeRegion,
        Option,
        PhyDim2,
        Resource,
    )

    layers: list[dict[str, Any]] = json.load(sys.stdin)
    one, origin = PhyDim2(1, 1), PhyDim2(0, 0)
    processor = NodeRegion(dim=one, origin=origin, type=NodeRegion.PROC)
    memory = NodeRegion(dim=one, origin=origin, type=NodeRegion.DRAM)
    resource = Resource(
        proc_region=processor,
        dram_region=memory,
        src_data_region=memory,
        dst_data_region=memory,
        dim_array=PhyDim2(12, 14),
        size_gbuf=108 * 1024 // 2,
        size_regf=520 // 2,
        array_bus_width=float("inf"),
        dram_bandwidth=float("inf"),
        no_time_mux=False,
    )
    cost = Cost(mac_op=1, mem_hier=(200, 6, 2, 1), noc_hop=0, idl_unit=0)
    network = Network("layers")
    first = layers[0]
    size = (first["out"] - 1) * first["stride"] + first["kernel"]
    network.set_input_layer(InputLayer(first["in_channels"], size))
    for layer in layers:
        sizes = [layer[name] for name in ("in_channels", "out_channels", "out", "kernel", "stride")]
        network.add(layer["name"], ConvLayer(*sizes))
    start = time.perf_counter()
    search = NNDataflow(network, 1, resource, cost, MapStrategyEyeriss)
    tops, _ = search.schedule_search(Option(opt_goal="e", ntops=1, nprocesses=1))
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "cycles": int(tops[0].total_time)}))


if __name__ == "__main__":
    main()
