"""Built-in networks with derived spaces: published sizes, spaces that are right, baselines."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from prune_gym import networks
from prune_gym.cli import main
from prune_gym.data import load_dataset
from prune_gym.networks import pretrained
from prune_gym.pruning import Geometry, verify_spaces
from prune_gym.pruning.verify import random_masks
from tests.prune_gym.pruning.test_derive import check_cuts, counted_macs

SIZES = {
    "vgg16": (15_253_578, 313_725_952),
    "vgg16_quarter": (957_210, 19_940_608),
    "resnet18": (11_173_962, 555_422_720),
    "mobilenetv2": (2_236_682, 87_976_448),
    "mobilenetv2_half": (590_410, 26_324_224),
}
SHIPPED = {"vgg16_quarter": "PruneVGG16-v0", "mobilenetv2_half": "PruneMobileNetV2-v0"}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    network = networks.build(name)
    geometry = Geometry(network.module, network.spaces, network.input_shape)
    assert (geometry.params(), geometry.macs()) == SIZES[name]
    assert geometry.params() == sum(p.numel() for p in network.module.parameters())
    assert geometry.macs() == counted_macs(network.module, network.input_shape)


@pytest.mark.parametrize("name", ["vgg16_quarter", "resnet18", "mobilenetv2_half"])
def test_spaces_are_right_and_complete(name):
    """All output channels but those of the logits are in a space; building does not verify them."""
    network = networks.build(name, 7)
    verify_spaces(network.module, network.spaces, network.input_shape)
    produced = {name: 0 for space in network.spaces for name in space.producers}
    for space in network.spaces:
        for layer in space.producers:
            produced[layer] += space.channels
    for layer, channels in produced.items():
        weight = network.module.get_submodule(layer).weight
        assert len(weight) == channels
    if name != "resnet18":  # too large for the fast tests in 64 bits
        masks = random_masks(network.spaces, 3)
        check_cuts(network.module, network.spaces, network.input_shape, masks)


@pytest.mark.parametrize("size", [0.001, 16])
def test_impossible_sizes_are_refused(size):
    from prune_gym.networks.vgg import VGG16

    with pytest.raises(ValueError, match=r"width=0.001|image_size=16"):
        VGG16(width=size) if size < 1 else VGG16(image_size=size)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_baselines_are_small_and_recorded(name):
    dataset = load_dataset("shapes")
    weights = pretrained.find(name, dataset)
    assert weights.parent == pretrained.SHIPPED
    assert weights.stat().st_size < 2_000_000
    recipe = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    network = pretrained.load(name, dataset)
    images = network.normalize(dataset.validation.images[:500])
    labels = dataset.validation.labels[:500]
    with torch.no_grad():
        accuracy = float((network.module(images).argmax(1) == labels).float().mean())
    assert abs(accuracy - recipe["validation_accuracy"]) < 0.05


@pytest.mark.parametrize(
    "env_id", ["PruneVGG16-v0", pytest.param("PruneMobileNetV2-v0", marks=pytest.mark.slow)]
)
def test_train_prune_and_export_from_the_command_line(env_id, tmp_path):
    out = tmp_path / "run"
    words = ["train", env_id, "--agent", "l1", "--episodes", "1", "--final-epochs", "0.02"]
    words += ["--env", "eval_images=100", "--env", "repair_images=32", "--env", "scope=all"]
    words += ["--set", "duration=0", "--target", "macs=0.5", "--threads", "1", "--quiet"]
    assert main([*words, "--out", str(out)]) == 0
    report = json.loads((out / "best" / "report.json").read_text(encoding="utf-8"))
    assert report["costs"]["macs"] < SIZES[{v: k for k, v in SHIPPED.items()}[env_id]][1] / 2
    session = onnxruntime.InferenceSession(out / "best" / "model.onnx")
    sample = np.load(out / "best" / "sample.npz")
    classes = session.run(None, {"images": sample["images"]})[0].argmax(1)
    assert (classes == sample["predicted"]).all()
    assert Path(out / "best" / "weights.safetensors").stat().st_size > 0
