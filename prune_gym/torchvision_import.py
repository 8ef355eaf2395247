"""Import parts of torchvision even if its native library does not match torch.

The torchvision on the package index is linked against CUDA. With a CPU build of torch, its library
does not load, and ``import torchvision`` fails with ``operator torchvision::nms does not exist``,
although the downloads and models used here are plain Python. Declaring the two missing operators
avoids this (observed with torchvision 0.28 and torch 2.13).
"""

import importlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import torch

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


@lru_cache(maxsize=1)
def dataset_utils() -> ModuleType:
    """Import ``torchvision.datasets.utils`` (downloads and checksums).

    Raises:
        ModuleNotFoundError: If torchvision is not installed.
    """
    if not _native_library_loads():
        _declare_operators()
    return importlib.import_module("torchvision.datasets.utils")


def models() -> ModuleType:
    """Import ``torchvision.models``.

    Raises:
        ModuleNotFoundError: If torchvision is not installed.
    """
    dataset_utils()
    return importlib.import_module("torchvision.models")


def stochastic_depth() -> type[torch.nn.Module]:
    """The layer ``torchvision.ops.StochasticDepth``.

    Raises:
        ModuleNotFoundError: If torchvision is not installed.
    """
    dataset_utils()
    kind: type[torch.nn.Module] = importlib.import_module("torchvision.ops").StochasticDepth
    return kind


def _native_library_loads() -> bool:
    """Load torchvision's library and return whether ``torchvision::nms`` exists."""
    spec = importlib.util.find_spec("torchvision")  # finds it without importing it
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("torchvision is not installed; run pip install torchvision.")
    for library in Path(spec.origin).parent.glob("_C.*"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            return False
    return hasattr(torch.ops.torchvision, "nms")


def _declare_operators() -> None:
    """Declare the operators without an implementation; calling them still fails."""
    global _library
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            _library.define(name + schema)


_library: torch.library.Library | None = None  # keeps the declarations alive
