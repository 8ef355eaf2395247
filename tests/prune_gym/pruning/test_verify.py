"""Verification by running: rounding is told from a wrong space on every processor."""

from dataclasses import replace

import pytest

from prune_gym import networks
from prune_gym.pruning import verify


@pytest.fixture
def network():
    return networks.build("resnet20", 10, 16, 3)


def test_rounding_is_no_difference(monkeypatch, network):
    # So small that single precision differs between the cut and the masked network.
    monkeypatch.setattr(verify, "TOLERANCE", 1e-10)
    assert verify.wrong_spaces(network.module, network.spaces, network.input_shape) == {}


def test_a_wrong_space_differs_in_double_precision_too(monkeypatch, network):
    monkeypatch.setattr(verify, "TOLERANCE", 1e-10)
    first, *rest = network.spaces
    wrong = replace(first, consumers=first.consumers[:-1])
    found = verify.wrong_spaces(network.module, [wrong, *rest], network.input_shape)
    assert list(found) == [first.name]
