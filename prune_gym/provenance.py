"""What a result depends on besides its configuration: versions and the machine."""

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PACKAGES = (
    "prune-gym",
    "torch",
    "numpy",
    "numba",
    "gymnasium",
    "safetensors",
    "onnx",
    "onnxruntime",
    "torchvision",
    "stable-baselines3",
)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on."""
    result = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            result[name] = version(name)
    return result


def machine(device: str) -> dict[str, Any]:
    """The kind of this machine, with the device of the network."""
    import torch
    from llvmlite.binding import get_host_cpu_name

    facts: dict[str, Any] = {
        "system": platform.system(),
        "processor": platform.machine(),
        # Libraries choose kernels by both, and other kernels add floats in another order.
        "microarchitecture": get_host_cpu_name(),
        "vector": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "device": device,
    }
    if device.startswith("cuda"):
        facts["device_name"] = torch.cuda.get_device_name(device)
    return facts
