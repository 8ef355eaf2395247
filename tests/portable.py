"""The tests marked ``float``, on every instruction set that this machine can imitate.

Floating-point sums depend on the order of their terms, and the order on the vector width of the
processor. The libraries take a narrower width than the processor has from the environment::

    python -m tests.portable [arguments for pytest]
"""

import os
import subprocess
import sys
import time

Settings = dict[str, str]
VARIABLES = (
    "ATEN_CPU_CAPABILITY",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA",  # convolutions
    "MKL_CBWR",  # matrix products of PyTorch
    "OPENBLAS_CORETYPE",  # matrix products of NumPy
)


def own_capability() -> str:
    """The widest vectors of this processor that PyTorch uses, such as ``"AVX512"``."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def combinations(capability: str) -> list[Settings]:
    """Environment variables of each run.

    Args:
        capability: From :func:`own_capability`; PyTorch crashes on a higher one.
    """
    widths: list[Settings] = [{}, {"ATEN_CPU_CAPABILITY": "default"}]
    if capability == "AVX512":  # on a processor with AVX2 alone, the first run has it
        widths.append({"ATEN_CPU_CAPABILITY": "avx2"})
    convolutions: list[Settings] = [{}, {"ONEDNN_MAX_CPU_ISA": "SSE41"}]
    products = {"OPENBLAS_CORETYPE": "Nehalem", "MKL_CBWR": "COMPATIBLE"}
    return [width | convolution for width in widths for convolution in convolutions] + [products]


def run(settings: Settings, arguments: list[str]) -> bool:
    """Run the tests once, print one line and the output of a failure, and return the success."""
    command = [sys.executable, "-m", "pytest", "-m", "float and not slow"]
    command += ["--numprocesses", "auto", "--dist", "loadscope", *arguments]
    start = time.monotonic()
    result = subprocess.run(
        command, env=os.environ | settings, capture_output=True, text=True, check=False
    )
    lines = result.stdout.strip().splitlines() or result.stderr.strip().splitlines() or [""]
    name = " ".join(f"{name}={value}" for name, value in settings.items()) or "as it is"
    print(f"{name}: {lines[-1]}, {time.monotonic() - start:.0f} s in all", flush=True)
    if result.returncode:
        print(result.stdout, result.stderr, sep="\n", flush=True)
    return result.returncode == 0


def main() -> int:
    """Run every combination; the exit status is 1 if a test fails in any."""
    for name in VARIABLES:
        os.environ.pop(name, None)
    passed = [run(settings, sys.argv[1:]) for settings in combinations(own_capability())]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
