"""Pruning is exact: masked and dense networks agree, also with an independent tool."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from prune_gym import networks
from prune_gym.pruning import ChannelSpace, check_spaces, cut_spaces, dense, legal_mask, masked
from tests.tiny import shake, tiny_network

NAMES = ["resnet20", "resnet20b", "resnet56", "resnet56b", "plain20"]


def random_masks(spaces, seed, share=0.5):
    rng = np.random.default_rng(seed)
    masks = {}
    for space in spaces:
        mask = rng.random(space.channels) < share
        mask[rng.integers(space.channels)] = True
        masks[space.name] = mask
    return masks


def outputs(module, shape, batch=4):
    images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return module(images)


@pytest.mark.float
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_masked_equals_dense(name, share):
    network = networks.build(name)
    module = shake(network.module)
    masks = random_masks(network.spaces, 0, share)
    cut = dense(module, network.spaces, masks)
    silenced = masked(module, network.spaces, masks)
    expected = outputs(cut, network.input_shape)
    actual = outputs(silenced, network.input_shape)
    scale = expected.abs().max()
    assert torch.allclose(actual / scale, expected / scale, atol=1e-5)
    whole = outputs(module, network.input_shape)
    assert not torch.allclose(whole / scale, expected / scale, atol=1e-2)


@pytest.mark.float
@given(st.integers(0, 2**32 - 1), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_masked_equals_dense_of_a_users_own_network(seed, share):
    network = tiny_network()
    module = shake(network.module, seed % 1000)
    masks = random_masks(network.spaces, seed, share)
    cut = outputs(dense(module, network.spaces, masks), network.input_shape)
    silenced = outputs(masked(module, network.spaces, masks), network.input_shape)
    assert torch.allclose(cut, silenced, atol=1e-4)


def test_cutting_in_two_steps_is_cutting_once():
    network = networks.build("resnet20")
    module = shake(network.module)
    first, second = random_masks(network.spaces, 0, 0.7), {}
    kept = cut_spaces(network.spaces, first)
    step = dense(module, network.spaces, first)
    second = random_masks(kept, 1, 0.6)
    twice = dense(step, kept, second)
    both = {}
    for name, mask in first.items():
        both[name] = np.zeros_like(mask)
        both[name][np.flatnonzero(mask)[second[name]]] = True
    once = dense(module, network.spaces, both)
    for (name, a), (other, b) in zip(
        twice.state_dict().items(), once.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(a, b)


def test_the_network_given_stays_as_it_was():
    network = networks.build("resnet20")
    before = copy.deepcopy(network.module.state_dict())
    masks = random_masks(network.spaces, 0)
    dense(network.module, network.spaces, masks)
    masked(network.module, network.spaces, masks)
    after = network.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.float
def test_keeping_all_changes_nothing():
    network = networks.build("resnet20")
    module = shake(network.module)
    masks = {space.name: np.ones(space.channels, bool) for space in network.spaces}
    expected = outputs(module, network.input_shape)
    assert torch.equal(outputs(dense(module, network.spaces, masks), (3, 32, 32)), expected)


def test_masking_the_convolution_alone_would_be_wrong():
    """Masks that keep the batch norm's bias are wrong: this guards the property above."""
    network = networks.build("resnet20")
    module = shake(network.module)
    masks = random_masks(network.spaces[1:2], 0)
    wrong = copy.deepcopy(module)
    (name, mask) = next(iter(masks.items()))
    removed = torch.from_numpy(~mask)
    wrong.get_submodule(f"{name}.conv1").weight.data[removed] = 0
    expected = outputs(dense(module, network.spaces, masks), network.input_shape)
    assert (outputs(wrong, network.input_shape) - expected).abs().max() > 0.1


@pytest.mark.float
@pytest.mark.filterwarnings("ignore")
def test_torch_pruning_cuts_alike_where_it_works():
    """Option B: torch-pruning finds the same groups and returns the same network."""
    tp = pytest.importorskip("torch_pruning")
    network = networks.build("resnet20b")
    module = shake(network.module)
    rng = np.random.default_rng(3)
    for space in network.spaces:
        removed = sorted(rng.choice(space.channels, space.channels // 2, replace=False).tolist())
        mask = np.ones(space.channels, bool)
        mask[removed] = False
        ours = dense(module, network.spaces, {space.name: mask})
        theirs = copy.deepcopy(module)
        graph = tp.DependencyGraph().build_dependency(theirs, torch.zeros(1, 3, 32, 32))
        layer = theirs.get_submodule(space.producers[0])
        graph.get_pruning_group(layer, tp.prune_conv_out_channels, idxs=removed).prune()
        assert torch.allclose(
            outputs(ours, (3, 32, 32)), outputs(theirs.eval(), (3, 32, 32)), atol=1e-4
        )


def test_memory_format_and_mode_are_kept():
    network = networks.build("resnet20")
    module = network.module.to(memory_format=torch.channels_last).train()
    cut = dense(module, network.spaces, random_masks(network.spaces, 0))
    assert cut.training
    weight = cut.get_submodule("layer1.0.conv1").weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (ChannelSpace("x", 6, ("nowhere",), ("second",)), "no layer 'nowhere'"),
        (ChannelSpace("x", 7, ("first",), ("second",)), "has 6 channels, but the space has 7"),
        (ChannelSpace("x", 6, ("first",), ("norm",)), "only be one of the followers"),
        (
            ChannelSpace("x", 6, ("depthwise",), ("second",)),
            "depthwise convolutions must be followers",
        ),
        (ChannelSpace("x", 6, ("first",), ("second",), ("second",)), "has 5 channels"),
    ],
)
def test_a_wrong_description_is_refused_by_name(space, message):
    with pytest.raises(ValueError, match=message):
        check_spaces(tiny_network().module, [space])


def test_a_layer_without_a_rule_is_refused():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4), nn.Conv2d(4, 2, 1))
    with pytest.raises(ValueError, match="no rule cuts a LayerNorm"):
        check_spaces(module, [ChannelSpace("x", 4, ("0",), ("2",), ("1",))])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"nine": np.ones(6, bool)}, "no space is named 'nine'"),
        ({"one": np.ones(5, bool)}, r"shape \(5,\), expected \(6,\)"),
        ({"one": np.zeros(6, bool)}, "keeps no channel"),
    ],
)
def test_wrong_masks_are_refused(masks, message):
    network = tiny_network()
    with pytest.raises(ValueError, match=message):
        dense(network.module, network.spaces, masks)


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(1, 24), st.integers(1, 8))
def test_legal_mask_adds_the_largest_norms(bits, min_keep, round_to):
    norms = np.random.default_rng(len(bits)).random(len(bits))
    mask = legal_mask(bits, norms, min_keep, round_to)
    kept = int(mask.sum())
    assert kept >= min(min_keep, len(bits))
    assert kept % round_to == 0 or kept == len(bits)
    assert (mask | ~np.array(bits)).all()  # all requested filters are kept
    added = mask & ~np.array(bits)
    if added.any() and not mask.all():
        assert norms[added].min() > norms[~mask].max()
    assert kept < max(sum(bits), min_keep) + round_to
