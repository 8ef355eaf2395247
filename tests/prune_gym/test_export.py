"""Exported files are checked against the network; a failed export loses nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from prune_gym.data import IMAGENET, Normalization
from prune_gym.errors import ExportError
from prune_gym.export import Normalized, _check, check_exportable, check_onnx, export_network
from prune_gym.networks import Network
from prune_gym.pruning import ChannelSpace
from prune_gym.pruning.saved import load_network
from tests.tiny import shake, tiny_dataset, tiny_network

pytestmark = pytest.mark.float


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    network = tiny_network()
    shake(network.module)
    kept = {space.name: np.arange(space.channels) for space in network.spaces}
    differences = export_network(folder, network, kept, tiny_dataset().test)
    return folder, network, differences


def test_both_files_are_compared_with_the_network(exported):
    folder, _, differences = exported
    assert set(differences) == {"model.onnx", "model.pt2"}
    assert all(0 <= difference < 1e-4 for difference in differences.values())
    assert not list(folder.glob("*.data")), "one file, weights inside"


def test_any_batch_size_and_raw_pixels(exported):
    import onnxruntime

    folder, network, _ = exported
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for batch in (1, 3, 17):
        images = torch.rand(batch, 3, 8, 8, generator=torch.Generator().manual_seed(batch))
        (logits,) = session.run(None, {"images": images.numpy()})
        with torch.no_grad():
            expected = Normalized(network.module, network.normalize)(images)
        assert np.allclose(logits, expected.numpy(), atol=1e-4)


def test_another_network_is_noticed(exported):
    folder, network, _ = exported
    images = tiny_dataset().test.images[:8].float() / 255
    other = Normalized(shake(tiny_network().module, seed=1), network.normalize)
    with torch.no_grad(), pytest.raises(ExportError, match=r"model.onnx differs"):
        check_onnx(folder / "model.onnx", images, other(images))
    with torch.no_grad():
        check_onnx(
            folder / "model.onnx", images, Normalized(network.module, network.normalize)(images)
        )


def test_a_flipped_class_is_noticed():
    wanted = torch.tensor([[1.0, 1.00001], [0.0, 3.0]])
    logits = torch.tensor([[1.00002, 1.0], [0.0, 3.0]])
    with pytest.raises(ExportError, match="another class"):
        _check("model", logits, wanted)
    with pytest.raises(ExportError, match="differs"):
        _check("model", wanted * float("nan"), wanted)


class Branching(nn.Module):
    """A forward pass that depends on values, which no exporter can take."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 16, 3), nn.Linear(16, 4)

    def forward(self, x):
        x = self.conv(x).relu().mean((2, 3))
        return self.head(x * 2 if float(x.detach().sum()) > 1e9 else x)


def branching(num_classes=4, image_size=8):
    spaces = (ChannelSpace("conv", 16, ("conv",), ("head",)),)
    shape = (3, image_size, image_size)
    return Network(f"{__name__}:branching", Branching().eval(), spaces, shape, 4)


def test_a_failed_export_is_one_line_and_the_weights_are_there(tmp_path, capfd):
    network, kept = branching(), {"conv": np.arange(16)}
    for name in ("model.onnx", "model.pt2", "sample.npz"):
        (tmp_path / name).write_bytes(b"of another network")
    with pytest.raises(ExportError, match=r"cannot be exported to torch\.export") as caught:
        export_network(tmp_path, network, kept, tiny_dataset().test, {"note": 1})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == {
        "manifest.json",
        "network.json",
        "weights.safetensors",
    }
    loaded, _ = load_network(tmp_path)
    images = IMAGENET(tiny_dataset().test.images)
    assert torch.equal(loaded.module.eval()(images), network.module(images))


def test_a_trial_leaves_nothing_and_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    network = tiny_network()
    shake(network.module)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    check_exportable(network, tiny_dataset().test)
    with pytest.raises(ExportError):
        check_exportable(branching(), tiny_dataset().test)
    assert not list(tmp_path.iterdir())
    assert all(torch.equal(before[n], v) for n, v in network.module.state_dict().items())


def test_the_tolerance_is_relative_to_the_largest_logit():
    for scale in (1e-4, 1.0, 1e4):
        wanted = torch.tensor([[scale, 0.0], [-3 * scale, 0.0]])
        _check("model", wanted + 2e-4 * scale, wanted)
        with pytest.raises(ExportError, match=r"model differs.*1e-4 of the largest"):
            _check("model", wanted + 4e-4 * scale, wanted)


@pytest.mark.parametrize("normalization", [None, Normalization((0.1, 0.2, 0.3), (0.5, 0.4, 0.3))])
def test_the_models_contain_the_networks_normalisation(tmp_path, normalization):
    import onnxruntime

    network = replace(tiny_network(), normalization=normalization)
    shake(network.module)
    export_network(tmp_path, network, {}, tiny_dataset().test)
    pixels = tiny_dataset().test.images
    images = pixels.float() / 255
    with torch.no_grad():
        wanted = network.module(network.normalize(pixels)).numpy()
        (logits,) = onnxruntime.InferenceSession(tmp_path / "model.onnx").run(
            None, {"images": images.numpy()}
        )
        again = torch.export.load(tmp_path / "model.pt2").module()(images).numpy()
    assert np.allclose(logits, wanted, atol=1e-4)
    assert np.allclose(again, wanted, atol=1e-4)


def test_other_outputs_are_named(tmp_path):
    network = tiny_network()
    network.module.head.weight.data.fill_(torch.nan)
    with pytest.raises(ExportError, match="returns NaN or infinity"):
        export_network(tmp_path, network, {}, tiny_dataset().test)
