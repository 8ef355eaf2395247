"""torchvision's classification models, with random weights, are derived, cut and counted."""

import gc
import random

import numpy as np
import pytest
import torch
import torch_pruning
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prune_gym.pruning import Geometry, dense, derive, masked
from prune_gym.pruning.verify import random_masks
from prune_gym.torchvision_import import models
from tests.tiny import shake

SMALL = (
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
)
"""Models of the fast tests."""
SIZES = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 224}
FIXED_SIZE = ("vit_b", "vit_l")
CUT_OTHERWISE = ("convnext", "maxvit", "swin", "vit")
"""Models of which Torch-Pruning removes channels that a layer norm reads, which changes the others,
or which it cannot cut."""
CLASSES = 7
LARGE = 300_000_000
"""Parameters above which a test would need too much memory in 64 bits."""


def image_size(name):
    """A small size of images that a model takes."""
    return SIZES.get(name, 224 if name.startswith(FIXED_SIZE) else 64)


def build(name):
    """A model with random weights."""
    given = {"aux_logits": False, "init_weights": False} if name in _AUXILIARY else {}
    return models().get_model(name, weights=None, num_classes=CLASSES, **given).eval()


_AUXILIARY = ("googlenet", "inception_v3")


def all_names():
    try:
        return models().list_models(models())
    except ModuleNotFoundError:
        return []


def torch_macs(module, shape):
    """MACs by torch's own counter."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # The counter knows no fused attention on a CPU.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as found:
            module(torch.zeros(1, *shape, dtype=next(module.parameters()).dtype))
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return found.get_total_flops() // 2


def check(name):
    """Derive a model; cut and mask all spaces together, and five alone; count."""
    shape = (3, image_size(name), image_size(name))
    module = build(name)
    found = derive(module, shape)
    assert found.spaces
    geometry = Geometry(found.module, found.spaces, shape)
    assert geometry.macs() == torch_macs(module, shape)
    assert geometry.params() == sum(parameter.numel() for parameter in module.parameters())
    module = shake(found.module)
    if geometry.params() < LARGE:
        module = module.double()  # random deep networks amplify rounding
    images = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    images = images.to(next(module.parameters()).dtype)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.train().momentum = 1.0
        module(images)
        module.eval()
        singles = random.Random(0).sample(found.spaces, min(5, len(found.spaces)))
        for spaces in (found.spaces, *([space] for space in singles)):
            masks = random_masks(spaces, 0)
            cut = dense(module, found.spaces, masks, share=True)
            expected = masked(module, found.spaces, masks)(images)
            difference = (cut(images) - expected).abs().max() / expected.abs().max()
            assert difference < 1e-4, [space.name for space in spaces]
    counts = {name: int(np.sum(mask)) for name, mask in random_masks(found.spaces, 0).items()}
    cut = dense(module, found.spaces, random_masks(found.spaces, 0), share=True)
    assert geometry.macs(counts) == torch_macs(cut, shape)
    assert geometry.params(counts) == sum(parameter.numel() for parameter in cut.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_a_small_model(name):
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in all_names() if name not in SMALL])
def test_each_other_model(name):
    check(name)
    gc.collect()


def derived_channels(name, shape):
    """Output channels of convolutions and dense layers that derived spaces can remove."""
    found = derive(build(name), shape)
    total = 0
    for layer in found.module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            total += outputs(layer)
    return total - sum(fixed.channels for fixed in found.fixed)


def outputs(layer):
    """Output channels or features of a layer."""
    return layer.out_channels if isinstance(layer, nn.Conv2d) else layer.out_features


def channels_of_torch_pruning(name, shape):
    """Output channels of convolutions and dense layers in Torch-Pruning's groups."""
    module = build(name)
    graph = torch_pruning.DependencyGraph().build_dependency(module, torch.randn(1, *shape))
    last = [m for m in module.modules() if getattr(m, "out_features", 0) == CLASSES]
    last += [m for m in module.modules() if getattr(m, "out_channels", 0) == CLASSES]
    removable: dict[nn.Module, int] = {}
    for group in graph.get_all_groups(ignored_layers=last):
        for dependency, _ in group:
            layer = dependency.target.module
            if not isinstance(layer, nn.Conv2d | nn.Linear) or layer in last:
                continue
            if graph.is_out_channel_pruning_fn(dependency.handler):
                removable[layer] = outputs(layer)
    return sum(removable.values())


def check_against_torch_pruning(name):
    """A derivation finds what Torch-Pruning finds, where that is right."""
    shape = (3, image_size(name), image_size(name))
    assert derived_channels(name, shape) >= 0.95 * channels_of_torch_pruning(name, shape)


@pytest.mark.parametrize(
    "name", ["densenet121", "mobilenet_v3_small", "regnet_y_400mf", "resnet18"]
)
def test_torch_pruning_finds_no_more(name):
    check_against_torch_pruning(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n for n in all_names() if not n.startswith((*CUT_OTHERWISE, "shufflenet"))]
)
def test_torch_pruning_finds_no_more_in_any_model(name):
    check_against_torch_pruning(name)
    gc.collect()
