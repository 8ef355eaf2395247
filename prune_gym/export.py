"""A pruned network as files that run without this package, each checked against the network."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from prune_gym.data import MEAN, STD, Split
from prune_gym.errors import ExportError
from prune_gym.files import write_atomically
from prune_gym.networks import Network
from prune_gym.pruning.saved import Kept, save_network

OPSET = 18
SAMPLES = 64
TOLERANCE = 1e-4


class Normalized(nn.Module):
    """A network with its normalisation inside."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Map RGB images in [0, 1], shape (N, 3, H, W), to logits (N, classes)."""
        return self.network((images - self.mean) / self.std)


def export_network(folder: Path, network: Network, kept: Kept, samples: Split) -> dict[str, float]:
    """Write ``model.onnx``, ``model.pt2``, weights, description and sample images.

    Args:
        folder: Folder for the files, made if needed; files of the same names are replaced.
        network: Network, which is not changed.
        kept: Numbers of its channels in the unpruned network.
        samples: Images on which the files are checked; the first 64 go into ``sample.npz``.

    Returns:
        For ``model.onnx`` and ``model.pt2`` the largest difference of a logit from the network's.

    Raises:
        ExportError: If a file disagrees with the network by more than 1e-4 or on a class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = samples.images[:SAMPLES].float() / 255
    module = Normalized(copy.deepcopy(network.module).cpu()).eval()
    example = torch.zeros(2, *network.input_shape)
    shapes = {"images": {0: torch.export.Dim("batch", min=1, max=65536)}}
    program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    with torch.no_grad():
        wanted, again = module(images), program.module()(images)
    write_atomically(folder / "model.pt2", lambda path: torch.export.save(program, path))
    with _quiet():
        write_atomically(
            folder / "model.onnx",
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
        "model.onnx": check_onnx(folder / "model.onnx", images, wanted),
        "model.pt2": _check("model.pt2", again, wanted),
    }
    save_network(folder, network, kept)
    arrays = {
        "images": images.numpy(),
        "labels": samples.labels[:SAMPLES].numpy(),
        "predicted": wanted.argmax(1).numpy(),
    }
    write_atomically(folder / "sample.npz", lambda path: np.savez_compressed(path, **arrays))
    return differences


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and warns of its own internals."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def check_onnx(path: Path, images: Tensor, wanted: Tensor) -> float:
    """Run an ONNX file in ONNX Runtime and compare it with the network's logits.

    Returns:
        The largest difference of a logit.

    Raises:
        ExportError: If the difference is above 1e-4 (of the largest logit, if that is above 1), or
            a class differs.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
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
    allowed = TOLERANCE * max(1.0, float(wanted.abs().max()))
    if not difference <= allowed:
        raise ExportError(
            f"{name} differs from the network by {difference:.2g} in a logit (allowed: "
            f"{allowed:.2g})."
        )
    wrong = int((logits.argmax(1) != wanted.argmax(1)).sum())
    if wrong:
        raise ExportError(f"{name} predicts another class than the network for {wrong} images.")
    return difference
