"""The refit of every kind of layer: with nothing cut it changes nothing, in bounded memory."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prune_gym.pruning.repair import LeastSquares
from prune_gym.pruning.ridge import Moments, Plan
from prune_gym.pruning.rules import groups_of

pytestmark = [
    pytest.mark.float,
    pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel lengths"),
]
IMAGES, SIZE = 24, 9


class Twice(nn.Module):
    """A layer that is called on two maps, the first of which then changes in place."""

    def __init__(self, layer, pool):
        super().__init__()
        self.first, self.layer, self.pool = nn.Conv2d(3, 8, 3, padding=1), layer, pool

    def forward(self, x):
        x = self.first(x).tanh()
        other = nn.functional.avg_pool2d(x, 2) if self.pool else x.flip(3) * 2
        one = self.layer(x)
        x.mul_(3)
        return one.mean((2, 3)) + self.layer(other).mean((2, 3))


class Tokens(nn.Module):
    """A dense layer on tokens, whose last dimension holds the channels."""

    def __init__(self, layer, order):
        super().__init__()
        self.first, self.layer, self.order = nn.Conv2d(3, 8, 3, padding=1), layer, order

    def forward(self, x):
        x = self.first(x).tanh()
        if self.order == "map":
            return self.layer(x.movedim(1, -1)).mean((1, 2))
        if self.order == "windows":
            x = x[:, :, :8, :8].unflatten(3, (2, 4)).permute(0, 3, 2, 4, 1).flatten(0, 1)
            return self.layer(x).unflatten(0, (-1, 2)).mean((1, 2, 3))
        x = x.flatten(2).movedim(1, 2)
        return (
            self.layer(x).mean(1) if self.order == "batch" else self.layer(x.movedim(1, 0)).mean(0)
        )


class Table(nn.Module):
    """A dense layer on a table that does not depend on the images, beside one that does."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.register_buffer("table", torch.linspace(-1, 1, 5 * 8).view(5, 8))

    def forward(self, x):
        return self.layer(self.table).mean(0) + x.mean((2, 3)).sum(1, keepdim=True)


def after(layer, *before):
    """A network that ends with a layer."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Tanh(), *before, layer)


CONV = {
    **{
        f"{mode} {padding} {dilation}": {
            "padding": padding,
            "padding_mode": mode,
            "dilation": dilation,
        }
        for mode in ("zeros", "reflect", "circular", "replicate")
        for padding, dilation in ((2, 1), ((1, 3), (2, 1)), ("same", (2, 1)))
    },
    "valid": {"padding": "valid"},
    "even same": {"kernel_size": (4, 2), "padding": "same"},
    "uneven": {"kernel_size": (3, 1), "stride": (1, 3), "padding": (0, 1)},
    "no bias": {"padding": 1, "bias": False},
    "groups": {"groups": 4, "padding": 1},
    "groups without bias": {"groups": 2, "bias": False, "dilation": 2},
    "depthwise": {"groups": 8, "padding": 1},
}
NETWORKS = {
    **{
        name: lambda options=options: after(
            nn.Conv2d(8, 16, **({"kernel_size": 3, "stride": 2} | options))
            if options.get("padding") != "same"
            else nn.Conv2d(8, 16, **({"kernel_size": 3} | options))
        )
        for name, options in CONV.items()
    },
    "conv1d": lambda: after(
        nn.Conv1d(8, 6, 5, stride=2, padding=2, padding_mode="circular"), nn.Flatten(2)
    ),
    "conv3d": lambda: after(nn.Conv3d(2, 6, (2, 3, 3), padding=1), nn.Unflatten(1, (2, 4))),
    "flatten, fewer inputs than rows": lambda: after(
        nn.Linear(8, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "flatten, more inputs than rows": lambda: after(nn.Linear(8 * SIZE**2, 5), nn.Flatten()),
    "more inputs than rows, groups": lambda: after(nn.Conv2d(8, 4, SIZE, groups=2), nn.Identity()),
    "called twice": lambda: Twice(nn.Conv2d(8, 6, 3, padding=1), pool=False),
    "called twice, two sizes": lambda: Twice(nn.Conv2d(8, 6, 3, padding=1), pool=True),
    **{
        f"tokens, {order}": lambda order=order: Tokens(nn.Linear(8, 5), order)
        for order in ("batch", "time first", "map", "windows")
    },
    "table": lambda: Table(nn.Linear(8, 5)),
}


def made(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().eval()
    layer = "layer" if hasattr(network, "layer") else str(len(network) - 1)
    images = torch.randn(IMAGES, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return network, layer, images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("batch", [128, 10])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_refit_with_nothing_cut_changes_nothing(name, batch, monkeypatch):
    monkeypatch.setattr("prune_gym.pruning.rows.BATCH", batch)
    network, layer, images = made(name)
    new = copy.deepcopy(network)
    LeastSquares(network, [layer], images, samples=12).refit(new, layer)
    for old, now in zip(network.parameters(), new.parameters(), strict=True):
        assert (now - old).norm() <= 1e-5 * old.norm()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_damaged_layer_computes_its_old_outputs_again(name):
    """Unlike "nothing changes", this fails if no row is used, or if rows are not aligned."""
    network, layer, images = made(name)
    new = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in new.get_submodule(layer).parameters():
            parameter.mul_(0.5)
    refit = LeastSquares(network, [layer], images, samples=100, ridge=1e-9)
    refit.refit(new, layer)
    with torch.no_grad():
        wanted = network(images.clone())
        assert (new(images.clone()) - wanted).norm() <= 1e-3 * wanted.norm()


class Largest(TorchDispatchMode):
    """Notes the size of the largest float64 tensor."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor) and each.dtype == torch.float64:
                self.size = max(self.size, each.numel())
        return result


BOUNDED = ["zeros 2 1", "groups", "depthwise", "tokens, batch", "more inputs than rows, groups"]


@pytest.mark.parametrize("largest", [2000, 500])
@pytest.mark.parametrize("name", [*BOUNDED, "flatten, more inputs than rows"])
def test_no_matrix_is_larger_than_the_bound(name, largest, monkeypatch):
    for module in ("ridge", "repair"):
        monkeypatch.setattr(f"prune_gym.pruning.{module}.LARGEST", largest)
    network, layer, images = made(name)
    new = copy.deepcopy(network)
    refit = LeastSquares(network, [layer], images)
    with Largest() as seen:
        refit.refit(new, layer)
    row = groups_of(new.get_submodule(layer)) * (new.get_submodule(layer).weight[0].numel() + 1)
    assert 0 < seen.size <= max(largest, row)
    for old, now in zip(network.parameters(), new.parameters(), strict=True):
        assert (now - old).norm() <= 1e-5 * old.norm()


@pytest.mark.parametrize("name", BOUNDED)
def test_the_dual_is_the_solution_of_the_primal(name, monkeypatch):
    """Both systems see the same rows, of which there are fewer than inputs or more."""
    network, layer, images = made(name)
    damaged = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in damaged.get_submodule(layer).parameters():
            parameter.mul_(0.5)
    found = []
    for dual in (False, True):
        new = copy.deepcopy(damaged)
        monkeypatch.setattr(Plan, "of", lambda *sizes, dual=dual: Plan(*sizes, dual))
        LeastSquares(network, [layer], images, samples=4).refit(new, layer)
        found.append(new.get_submodule(layer))
    torch.testing.assert_close(found[0].weight, found[1].weight, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0].bias, found[1].bias, rtol=1e-4, atol=1e-5)


def test_the_smaller_system_is_solved():
    plans = [Plan.of(577, 1, 8192), Plan.of(25_089, 1, 256), Plan.of(10_001, 1, 8192)]
    assert [(plan.dual, plan.rows) for plan in plans] == [(False, 8192), (True, 256), (True, 3355)]
    assert plans[0].macs(64) == 8192 * 577 * (577 + 64)
    assert plans[1].macs(4096) == 256 * 25_089 * (256 + 4096)


def test_moments_are_offered_only_where_a_direct_refit_sums_them_too():
    names = {"no bias": True, "groups": False, "flatten, more inputs than rows": False}
    for name, offered in names.items():
        network, layer, images = made(name)
        refit = LeastSquares(network, [layer], images)
        assert refit.has_moments(layer, network.get_submodule(layer)) is offered


@pytest.mark.parametrize("repeat", [1, 4])
def test_moments_of_some_input_slots(repeat):
    """A mask has one entry for each slot, and each slot has one input or several."""
    features = torch.randn(50, 6 * repeat + 1, dtype=torch.float64)
    features[:, -1] = 1
    wanted = torch.randn(50, 3, dtype=torch.float64)
    keep = np.array([1, 0, 1, 1, 0, 1], bool)
    some = features[:, [*np.flatnonzero(np.repeat(keep, repeat)), -1]]
    whole = Moments(features.T @ features, features.T @ wanted, 50, bias=True)
    for mask in (keep, np.repeat(keep, repeat)):
        part = whole.of_inputs(mask)
        torch.testing.assert_close(part.gram, some.T @ some)
        torch.testing.assert_close(part.cross, some.T @ wanted)
    torch.testing.assert_close(whole.of_outputs(torch.tensor([2, 0])).cross, whole.cross[:, [2, 0]])


def test_a_layer_that_is_not_called_has_no_reference():
    network, layer, images = made("no bias")
    network.unused = nn.Linear(3, 3)
    network.forward = lambda x: network[:3](x)
    assert set(LeastSquares(network, [layer, "unused"], images).references) == {layer}


def test_what_cannot_be_refitted_is_refused_by_name():
    network = nn.Sequential(nn.ConvTranspose2d(3, 8, 3))
    with pytest.raises(
        ValueError, match="layer '0' is a ConvTranspose2d, which cannot be refitted"
    ):
        LeastSquares(network, ["0"], torch.zeros(2, 3, 4, 4))
    network, layer, images = made("no bias")
    refit = LeastSquares(network, [layer], images)
    grown = nn.Sequential(nn.Upsample(scale_factor=2), *network)
    with pytest.raises(ValueError, match=r"layer '2' computes .* outputs a channel, but"):
        refit.fit(layer, grown[-1], [grown[:-1](images)])


@pytest.mark.parametrize("name", ["no bias", "groups", "flatten, more inputs than rows"])
def test_inputs_that_are_not_finite_are_refused_by_name(name):
    network, layer, images = made(name)
    refit = LeastSquares(network, [layer], images)
    with torch.no_grad():
        network[0].weight[0] = float("nan")
    with pytest.raises(ValueError, match=f"layer '{layer}' cannot be refitted, because values"):
        refit.refit(network, layer)
