"""What a network must be like, and its normalisation."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import quantize_dynamic

from prune_gym.data import IMAGENET, Normalization, Split
from prune_gym.envs import PruningEnv
from prune_gym.errors import WeightsError
from prune_gym.networks import Network
from prune_gym.networks.checks import check_module
from prune_gym.pruning.saved import load_network, load_network_into, read_description, save_network
from prune_gym.runs.finish import FINAL_TUNING, fine_tune
from prune_gym.surrogate.features import Features
from tests.tiny import shake, tiny_dataset, tiny_network, tiny_residual

RAW = Normalization((0.0,) * 3, (1.0,) * 3)
"""Pixels stay in [0, 1]; the default makes many of them negative."""


class Odd(nn.Module):
    """A network whose outputs are those of a function."""

    def __init__(self, outputs):
        super().__init__()
        self.conv, self.head, self.outputs = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), outputs

    def forward(self, x):
        return self.outputs(self.head(self.conv(x).mean((2, 3))))


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (lambda x: (x, x), "returns a tuple; it must return the logits alone"),
        (lambda x: {"out": x}, "returns a dict; it must return the logits alone"),
        (lambda x: x[:, :3], r"returns shape \(2, 3\) for two images, not \(2, 4\)"),
        (lambda x: x[:, :, None], r"returns shape \(2, 4, 1\)"),
    ],
)
def test_other_outputs_than_logits_are_refused_in_a_line(outputs, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_module(Network("a:b", Odd(outputs).eval(), (), (3, 8, 8), 4))
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_float32_or_not_finite_are_named():
    check_module(Network("a:b", tiny_residual().module.eval(), (), (3, 8, 8), 4))
    network = tiny_residual()
    for kind, change in (("float16", nn.Module.half), ("float64", nn.Module.double)):
        change(network.module)
        with pytest.raises(WeightsError, match=f"'stem.weight' is {kind}.*float32"):
            PruningEnv(network, tiny_dataset())
    network = tiny_residual()
    for tensor in (network.module.norm2.running_var, network.module.head.bias.data):
        name = "norm2.running_var" if tensor.numel() == 8 else "head.bias"
        kept = tensor[1].clone()
        tensor[1] = torch.inf
        with pytest.raises(WeightsError, match=f"NaN or infinity in '{name}'"):
            PruningEnv(network, tiny_dataset())
        tensor[1] = kept


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_layers_are_named():
    module = quantize_dynamic(tiny_residual().module, {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(WeightsError, match=r"the layer 'head' is quantised.*then quantise it"):
        PruningEnv(module, tiny_dataset())


def test_the_default_depends_on_the_channels_and_a_wrong_number_is_refused():
    network = tiny_network()
    assert network.normalize is IMAGENET
    assert replace(network, normalization=RAW).normalize is RAW
    with pytest.raises(ValueError, match="3 channels, but the normalization has 1 values"):
        replace(network, normalization=Normalization.default(1))
    grey = Network("a:b", nn.Conv2d(1, 4, 3), (), (1, 8, 8), 4)
    assert grey.normalize == Normalization.default(1)


@pytest.fixture
def seen(monkeypatch):
    """Smallest and largest input of the convolutions that read images of many pixels."""
    found = []
    forward = nn.Conv2d.forward

    def watched(self, x):
        # Checks of the network use two images; a block's 1 x 1 expansion may have three codes.
        if x.shape[1] == 3 and len(x) > 2 and self.kernel_size != (1, 1):
            found.append((float(x.detach().min()), float(x.detach().max())))
        return forward(self, x)

    monkeypatch.setattr(nn.Conv2d, "forward", watched)
    return found


def in_range(seen):
    return bool(seen) and all(least >= 0 and most <= 1 for least, most in seen)


@pytest.mark.parametrize("mode", ["filters", "alf"])
@pytest.mark.parametrize("recovery", ["lsq", "bn"])
def test_steps_and_the_final_fine_tune_use_the_networks_normalisation(seen, mode, recovery):
    network = replace(tiny_residual(), normalization=RAW)
    settings = {"eval_images": 64, "repair_images": 64, "batch_size": 32, "threads": 1}
    settings |= {"action_mode": mode, "recovery": recovery, "fast": False, "max_epochs": 0.5}
    env = PruningEnv(network, tiny_dataset(), **settings)
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in env.visited:
        action = env.action_space.sample()
        env.step(action | {"duration": np.ones(1, np.float32)})
    fine_tune(env.baseline, env.snapshot(), 0.5, 0, FINAL_TUNING)
    assert in_range(seen)
    seen.clear()
    Features(env.baseline, env.baseline.network.spaces)
    assert in_range(seen)
    seen.clear()
    PruningEnv(tiny_residual(), tiny_dataset(), **settings)
    assert not in_range(seen), "the default is another"


@pytest.mark.parametrize("given", [RAW, RAW.to_json()])
def test_an_argument_replaces_the_networks_normalisation(given):
    settings = {"eval_images": 64, "repair_images": 64, "threads": 1}
    env = PruningEnv(tiny_network(), tiny_dataset(), normalization=given, **settings)
    env.reset()
    assert env.network.normalize == env.baseline.network.normalize == RAW
    assert env.config.changed()["normalization"] == RAW.to_json()
    same = PruningEnv(tiny_network(), tiny_dataset(), normalization=IMAGENET, **settings)
    default = PruningEnv(tiny_network(), tiny_dataset(), **settings)
    for each in (same, env):
        each.baseline.module.load_state_dict(default.baseline.module.state_dict())
    hashes = [each.baseline.weights_hash for each in (default, same, env)]
    assert hashes[0] == hashes[1] != hashes[2], "runs must not mix normalisations"


def test_a_saved_network_keeps_its_normalisation(tmp_path):
    network = replace(tiny_network(), normalization=RAW)
    shake(network.module)
    kept = {space.name: np.arange(space.channels) for space in network.spaces}
    save_network(tmp_path, network, kept)
    assert read_description(tmp_path).normalization == RAW.to_json()
    assert load_network(tmp_path)[0].normalize == RAW
    assert load_network_into(tmp_path, tiny_network()).normalize == RAW
    # A network that an earlier version saved has the default.
    path = tmp_path / "network.json"
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | {"normalization": None}))
    (tmp_path / "manifest.json").unlink()  # nor has it checksums
    assert load_network(tmp_path)[0].normalize == IMAGENET
    path.write_text(text.replace('"std"', '"deviation"'))
    with pytest.raises(WeightsError, match="must have a mean and a std"):
        load_network(tmp_path)


def grey_network(num_classes=4, image_size=8):
    """A network for images of one channel."""
    network = tiny_residual(num_classes, image_size)
    network.module.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
    name = f"{__name__}:grey_network"
    return replace(network, architecture=name, input_shape=(1, image_size, image_size))


def grey(dataset):
    """A data set in one channel."""
    splits = {
        name: Split(getattr(dataset, name).images[:, :1], getattr(dataset, name).labels)
        for name in ("train", "validation", "test")
    }
    return replace(dataset, **splits)


def test_images_of_another_shape_are_refused_by_name():
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\).*'tiny' has images of shape \(1, 8"):
        PruningEnv(tiny_network(), grey(tiny_dataset()))


def test_grey_images_are_pruned_saved_and_exported(tmp_path):
    import onnxruntime

    network = grey_network()
    env = PruningEnv(network, grey(tiny_dataset()), eval_images=64, repair_images=64, threads=1)
    env.reset(seed=0)
    env.action_space.seed(1)
    for _ in env.visited:
        env.step(env.action_space.sample())
    env.export(tmp_path)
    loaded, _ = load_network(tmp_path)
    assert loaded.normalize == Normalization.default(1)
    pixels = grey(tiny_dataset()).test.images
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    (logits,) = session.run(None, {"images": (pixels.float() / 255).numpy()})
    with torch.no_grad():
        wanted = loaded.module.eval()(loaded.normalize(pixels))
    assert np.allclose(logits, wanted.numpy(), atol=1e-4)
