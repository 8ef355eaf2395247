"""Random small networks are derived, cut and compared with the masked network."""

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from prune_gym.pruning import derive
from prune_gym.pruning.verify import random_masks
from tests.prune_gym.pruning.patterns import SHAPE, conv
from tests.prune_gym.pruning.test_derive import check_cuts

SIZES = (2, 4, 6, 8)


class RandomNet(nn.Module):
    """A network that applies drawn steps to a list of feature maps.

    Args:
        steps: For each step, its kind, the numbers of the maps that it reads, and a size.
    """

    def __init__(self, steps):
        super().__init__()
        self.stem = conv(3, 8)
        self.layers = nn.ModuleDict()
        self.steps = []
        channels = [8]
        for index, (kind, first, second, size) in enumerate(steps):
            first, second = first % len(channels), second % len(channels)
            done = self._plan(str(index), kind, channels, first, second, size)
            if done is not None:
                self.steps.append((str(index), kind, first, second, size))
                channels.append(done)
        self.flatten = bool(len(steps) % 2)
        self.head = nn.Linear(channels[-1] * (16 if self.flatten else 1), 5)

    def _plan(self, name, kind, channels, first, second, size):
        """Make the layers of a step; return its channels, or None if it cannot be taken."""
        count = channels[first]
        if kind == "conv":
            self.layers[name] = conv(count, size)
            return size
        if kind == "grouped":
            if count % 2:
                return None
            self.layers[name] = conv(count, size, groups=2)
            return size
        if kind == "depthwise":
            self.layers[name] = conv(count, count, groups=count)
            return count
        if kind == "norm":
            self.layers[name] = nn.BatchNorm2d(count)
            return count
        if kind == "group norm":
            self.layers[name] = nn.GroupNorm(2 if count % 2 == 0 else 1, count)
            return count
        if kind == "gate":
            self.layers[name] = nn.Linear(count, count)
            return count
        if kind in ("add", "multiply"):
            return count if channels[second] == count else None
        if kind == "concat":
            return count + channels[second]
        if kind == "pad":
            return count + size
        if kind == "split":
            return count // 2 if count >= 4 and count % 2 == 0 else None
        if kind == "shuffle":
            return count if count % 2 == 0 else None
        return count  # sigmoid, softmax

    def forward(self, x):
        """Map images (N, 3, 16, 16) to logits (N, 5)."""
        maps = [functional.avg_pool2d(self.stem(x), 4)]
        for name, kind, first, second, size in self.steps:
            maps.append(self._step(name, kind, maps[first], maps[second], size))
        x = maps[-1].flatten(1) if self.flatten else maps[-1].mean((2, 3))
        return self.head(x)

    def _step(self, name, kind, x, other, size):
        if kind == "gate":
            return x * self.layers[name](x.mean((2, 3))).sigmoid()[:, :, None, None]
        if name in self.layers:
            return self.layers[name](x)
        if kind == "add":
            return x + other
        if kind == "multiply":
            return x * other
        if kind == "concat":
            return torch.cat([x, other], 1)
        if kind == "pad":
            return functional.pad(x, (0, 0, 0, 0, size // 2, size - size // 2))
        if kind == "split":
            first, second = x.chunk(2, 1)
            return second if size > 4 else first
        if kind == "shuffle":
            n, c, h, w = x.shape
            return x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, -1, h, w)
        return x.softmax(1) if kind == "softmax" else x.sigmoid()


KINDS = (
    *("conv", "conv", "conv", "grouped", "depthwise", "norm", "group norm", "gate", "add"),
    *("multiply", "concat", "concat", "pad", "split", "shuffle", "sigmoid", "softmax"),
)
MAP = st.integers(0, 3)
STEPS = st.lists(st.tuples(st.sampled_from(KINDS), MAP, MAP, st.sampled_from(SIZES)), max_size=9)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, seed=st.integers(0, 99))
def test_a_random_network_is_cut_as_it_is_masked(steps, seed):
    # Maps are counted from the newest one, so that networks become deep.
    newest = [(kind, -1 - first, -1 - second, size) for kind, first, second, size in steps]
    torch.manual_seed(seed)
    module = RandomNet(newest).eval()
    found = derive(module, SHAPE)
    wrong = [fixed for fixed in found.fixed if "the cut network" in fixed.reason]
    assert not wrong, "the derivation was wrong, and only the verification found it"
    if found.spaces:
        # The steps may leave maps unread.
        check_cuts(found.module, found.spaces, SHAPE, random_masks(found.spaces, seed), read=False)
