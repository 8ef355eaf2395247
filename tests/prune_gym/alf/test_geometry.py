"""Shapes of networks with codes: convolutions are counted as they are executed."""

from prune_gym.alf import pays
from prune_gym.alf.geometry import CodeGeometry, code_spaces
from prune_gym.data import IMAGENET
from prune_gym.pruning import Geometry


def test_codes_are_counted_as_they_are_executed(residual_trained):
    network, dataset = residual_trained
    module = network.module
    base = Geometry(module, network.spaces, network.input_shape)
    visited = code_spaces(module, base, IMAGENET(dataset.train.images[:1]), every=True)
    geometry = CodeGeometry(base, visited)
    assert len(visited) == 4
    for space in visited:
        conv = module.get_submodule(space.producers[0])
        for codes in range(1, space.channels + 1):
            cheaper = geometry.macs({space.name: codes}) < base.macs()
            assert cheaper == pays(conv, codes)
