"""A pruned network as files that run without this package, each checked against the network."""

import contextlib
import copy
import io
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prune_gym.data import Normalization, Split
from prune_gym.errors import ExportError
from prune_gym.files import write_atomically
from prune_gym.networks import Network
from prune_gym.pruning.saved import Kept, save_network

OPSET = 18
SAMPLES = 64
TOLERANCE = 1e-4
_COLOUR = re.compile("\x1b\\[[0-9;]*m")
ONNX, PT2, SAMPLE = "model.onnx", "model.pt2", "sample.npz"


class Normalized(nn.Module):
    """A network with its normalisation inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(normalization.mean)[:, None, None])
        self.register_buffer("std", torch.tensor(normalization.std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Map images in [0, 1], shape (N, C, H, W), to logits (N, classes)."""
        return self.network((images - self.mean) / self.std)


def export_network(
    folder: Path,
    network: Network,
    kept: Kept,
    samples: Split,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Write weights and description, then ``model.onnx``, ``model.pt2`` and sample images.

    The weights are written first, so that a failed export loses nothing.

    Args:
        folder: Folder for the files, made if needed; files of the same names are replaced.
        network: Network, which is not changed.
        kept: Numbers of its channels in the unpruned network.
        samples: Images on which the files are checked; the first 64 go into ``sample.npz``.
        facts: Additional entries of the description.

    Returns:
        For ``model.onnx`` and ``model.pt2`` the largest difference of a logit from the network's.

    Raises:
        ExportError: If the network cannot be exported, or a file disagrees with it by more than
            1e-4 of the largest logit or on a class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in (ONNX, PT2, SAMPLE):  # those of another network
        (folder / name).unlink(missing_ok=True)
    save_network(folder, network, kept, facts)
    return write_models(folder, network, samples)


def check_exportable(network: Network, samples: Split) -> None:
    """Export a network to a temporary folder, to find out whether that is possible.

    Args:
        network: Network, which is not changed.
        samples: Images on which the files are checked.

    Raises:
        ExportError: If :func:`export_network` would fail.
    """
    with tempfile.TemporaryDirectory(prefix="prune-gym-") as folder:
        write_models(Path(folder), network, samples)


def write_models(folder: Path, network: Network, samples: Split) -> dict[str, float]:
    """The part of :func:`export_network` that may fail: models and sample images."""
    images = samples.images[:SAMPLES].float() / 255
    module = Normalized(copy.deepcopy(network.module).cpu(), network.normalize).eval()
    example = torch.zeros(2, *network.input_shape)
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=65536)}}
    with _named("torch.export"):
        program = torch.export.export(module, (example,), dynamic_shapes=shapes)
        with torch.no_grad():
            wanted, again = module(images), program.module()(images)
        # In memory first: on a full disk torch's own writer ends the process.
        archive = io.BytesIO()
        torch.export.save(program, archive)
        write_atomically(folder / PT2, lambda path: path.write_bytes(archive.getvalue()))
    if not isinstance(wanted, Tensor) or not torch.isfinite(wanted).all():
        kind = "NaN or infinity" if isinstance(wanted, Tensor) else f"a {type(wanted).__name__}"
        raise ExportError(f"The network cannot be exported: it returns {kind}, not logits.")
    with _named("ONNX"):
        write_atomically(
            folder / ONNX,
            lambda path: torch.onnx.export(
                module,
                (example,),
                path,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=shapes,
                opset_version=OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            ),
        )
    differences = {
        ONNX: check_onnx(folder / ONNX, images, wanted),
        PT2: _check(PT2, again, wanted),
    }
    labels, predicted = samples.labels[:SAMPLES].numpy(), wanted.argmax(1).numpy()
    write_atomically(
        folder / SAMPLE,
        lambda path: np.savez_compressed(
            path, images=images.numpy(), labels=labels, predicted=predicted
        ),
    )
    return differences


@contextlib.contextmanager
def _named(format_name: str) -> Iterator[None]:
    """Quiet exporters, whose exceptions become an :class:`ExportError` of one line."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "torch.fx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        # The exporters print their progress and warn of their own internals.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    except OSError:
        raise  # a full disk is no fault of the network
    except Exception as error:  # the exporters raise dozens of kinds
        raise ExportError(
            f"The network cannot be exported to {format_name} ({_first_line(error)}). A forward "
            "pass must take any number of images and not branch on their values."
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    """The first line of the exception at the bottom of a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in _COLOUR.sub("", str(error)).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(".: ")


def check_onnx(path: Path, images: Tensor, wanted: Tensor) -> float:
    """Run an ONNX file in ONNX Runtime and compare it with the network's logits.

    Returns:
        The largest difference of a logit.

    Raises:
        ExportError: If ONNX Runtime does not run the file, the difference is above 1e-4 of the
            largest logit, or a class differs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with _named("ONNX"):
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {"images": images.numpy()})
        one = session.run(None, {"images": images[:1].numpy()})[0]
    if one.shape != (1, wanted.shape[1]):
        raise ExportError(
            f"{path.name} returns shape {one.shape} for one image: its batch size is fixed"
        )
    return _check(path.name, torch.from_numpy(logits), wanted)


def _check(name: str, logits: Tensor, wanted: Tensor) -> float:
    difference = float((logits - wanted).abs().max())
    allowed = TOLERANCE * float(wanted.abs().max())
    if not difference <= allowed:
        raise ExportError(
            f"{name} differs from the network by {difference:.2g} in a logit (allowed: "
            f"{allowed:.2g}, 1e-4 of the largest)."
        )
    wrong = int((logits.argmax(1) != wanted.argmax(1)).sum())
    if wrong:
        raise ExportError(f"{name} predicts another class than the network for {wrong} images.")
    return difference
