"""The export check detects a file whose outputs differ from the network's."""

import numpy as np
import pytest
import torch

from prune_gym.errors import ExportError
from prune_gym.export import Normalized, _check, check_onnx, export_network
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
