"""Layers whose weights are rebuilt in each forward pass are refused by name."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import utils
from torch.nn.utils import parametrizations, prune

from prune_gym.pruning import ChannelSpace, dense, derive
from tests.prune_gym.pruning.patterns import SHAPE, around

HOOKS = {
    "prune.remove": lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    "remove_weight_norm": utils.weight_norm,
    "remove_spectral_norm": utils.spectral_norm,
    "remove_parametrizations": parametrizations.weight_norm,
    "parametrize.remove": parametrizations.orthogonal,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*")
@pytest.mark.parametrize("run_before", [False, True])
@pytest.mark.parametrize("remedy", HOOKS)
def test_rebuilt_weights_are_refused_with_the_remedy(remedy, run_before):
    module = around(nn.Identity()).eval()
    HOOKS[remedy](module.a)
    if run_before:
        with torch.no_grad():
            module(torch.zeros(1, *SHAPE))
    space = ChannelSpace("a", 16, ("a",), ("b",))
    with pytest.raises(ValueError, match=f"layer 'a'.*{remedy}"):
        derive(module, SHAPE)
    if run_before:
        with pytest.raises(ValueError, match=f"layer 'a'.*{remedy}"):
            dense(module, [space], {"a": np.arange(16) < 8})


def test_other_hooks_are_no_reason_to_refuse():
    module, seen = around(nn.Identity()), []
    module.a.register_forward_pre_hook(lambda layer, args: seen.append(layer))
    assert [space.name for space in derive(module, SHAPE).spaces] == ["a", "b"]
    assert seen
