"""The ALF block: its initial function, the gradients of both players, and clipped codes."""

import math

import pytest
import torch
from torch import nn

from prune_gym.alf import ALFConv2d, ALFOptions, blocks, nu, to_alf
from prune_gym.errors import PruneGymError
from tests.tiny import shake, tiny_residual

pytestmark = pytest.mark.float

AUTOENCODER = ("encoder", "decoder", "mask")


def conv(bias=True, **arguments):
    torch.manual_seed(0)
    return nn.Conv2d(6, 10, 3, padding=1, bias=bias, **arguments)


def images(seed=0):
    return torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(seed))


def squeezed(steps=150, **options):
    block = ALFConv2d(conv(), ALFOptions(**options))
    for _ in range(steps):
        block.autoencoder_step()
    return block


@pytest.mark.parametrize("zeros", [slice(None), slice(3, 7)])
def test_filters_of_zeros_stay_zeros(zeros):
    own = conv()
    nn.init.zeros_(own.weight[zeros])
    block = ALFConv2d(own, ALFOptions(pr_max=0.5))
    with torch.no_grad():
        before = block(images())
        block.fold()
        assert torch.allclose(block(images()), before, atol=1e-4)
    block.autoencoder_step()
    block.clip()
    assert torch.isfinite(block(images())).all()


@pytest.mark.parametrize("sigma", ["linear", "tanh"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_starts_as_the_convolution(sigma, stride, bias):
    own = conv(bias, stride=stride)
    block = ALFConv2d(own, ALFOptions(sigma_ae=sigma))
    with torch.no_grad():
        assert torch.allclose(block(images()), own(images()), atol=1e-4)
    assert block.codes_alive == 10
    assert block.reconstruction_error() < 1e-6


def test_a_network_starts_with_its_logits():
    network = tiny_residual()
    shake(network.module)
    x = torch.rand(8, 3, 8, 8)
    for sigma in ("linear", "tanh"):
        module = to_alf(network, None, ALFOptions(sigma_ae=sigma))
        assert len(blocks(module)) == 4
        with torch.no_grad():
            assert (module(x) - network.module(x)).abs().max() < 1e-4


@pytest.mark.parametrize("gradient", ["encoder", "straight"])
def test_the_task_trains_filters_and_expansion_alone(gradient):
    block = squeezed(30, pr_max=0.5, gradient=gradient)
    block.zero_grad()
    block(images()).square().sum().backward()
    assert block.weight.grad.abs().sum() > 0
    assert block.expansion.weight.grad.abs().sum() > 0
    assert all(getattr(block, name).grad is None for name in AUTOENCODER)


def test_the_autoencoder_trains_encoder_decoder_and_mask_alone():
    block = ALFConv2d(conv(), ALFOptions())
    block.autoencoder_loss().backward()
    assert block.weight.grad is None
    assert block.expansion.weight.grad is None
    # The initial reconstruction is exact, so only the mask has a gradient.
    assert block.mask.grad.abs().min() > 0
    with torch.no_grad():
        block.decoder += 0.1
    block.autoencoder_loss().backward()
    assert all(getattr(block, name).grad.abs().sum() > 0 for name in AUTOENCODER)
    before = block.weight.detach().clone(), block.expansion.weight.detach().clone()
    block.autoencoder_step()
    assert torch.equal(block.weight, before[0])
    assert torch.equal(block.expansion.weight, before[1])


def test_straight_gradient_is_that_of_the_code_filter():
    block = squeezed(60, pr_max=0.5, gradient="straight")
    filters = block.code_filters()
    filters.retain_grad()
    nn.functional.conv2d(images(), filters).square().sum().backward()
    alive = block.alive()
    assert torch.equal(block.weight.grad[alive], filters.grad)
    assert (block.weight.grad[~alive] == 0).all()


def test_encoder_gradient_is_that_of_differences():
    block = squeezed(60, pr_max=0.5).double()
    x = images().double()

    def loss():
        return block(x).square().mean()

    (analytic,) = torch.autograd.grad(loss(), block.weight)
    for place in ((0, 0, 0, 0), (3, 2, 1, 1), (9, 5, 2, 2)):
        values = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                block.weight[place] += step
                values.append(float(loss()))
                block.weight[place] -= step
        assert analytic[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4)


@pytest.mark.parametrize(
    ("theta", "value"),
    [(0.0, 1 - math.exp(-8 * 0.85)), (0.85, 0.0), (0.9, 0.0), (0.75, 1 - math.exp(-0.8))],
)
def test_schedule(theta, value):
    assert nu(theta, ALFOptions(pr_max=0.85, m=8)) == pytest.approx(value)


@pytest.mark.parametrize("pr_max", [0.0, 0.3, 0.7, 1.0])
def test_no_more_codes_are_clipped_than_asked_for(pr_max):
    block = squeezed(400, pr_max=pr_max)
    least = max(1, 10 - math.floor(pr_max * 10))
    assert block.codes_alive >= least
    assert block.codes_alive <= least + 1


def test_what_is_clipped_stays_clipped():
    block = ALFConv2d(conv(), ALFOptions(pr_max=0.6))
    before = block.alive()
    for _ in range(200):
        block.autoencoder_step()
        assert not (block.alive() & ~before).any()
        before = block.alive()


def test_the_reconstruction_recovers_behind_the_clipping():
    block = squeezed(60, pr_max=0.5)
    alive = block.codes_alive
    early = block.reconstruction_error()
    for _ in range(400):
        block.autoencoder_step()
    assert block.codes_alive == alive
    assert block.reconstruction_error() < early
    # The singular values bound the error of all rank-k matrices (Eckart and Young 1936).
    values = torch.linalg.svdvals(block.weight.detach().flatten(1)).square()
    floor = float(values[alive:].sum() / values.sum())
    assert block.reconstruction_error() >= floor - 1e-6


def test_clipping_at_once_leaves_the_largest_entries_and_folds():
    block = ALFConv2d(conv(), ALFOptions(pr_max=0.5))
    with torch.no_grad():
        block.mask.copy_(torch.linspace(-1, 0.9, block.out_channels))
    largest = block.mask.detach().abs().argsort(descending=True)[: block.out_channels // 2]
    block.clip()
    assert set(block.alive().nonzero().flatten().tolist()) == set(largest.tolist())
    assert (block.mask[largest] == 1).all()
    block.clip()
    assert block.codes_alive == block.out_channels // 2


def test_clipped_codes_are_not_computed():
    block = squeezed(pr_max=0.6)
    maps = block.codes(images())
    assert maps.shape == (4, 10, 8, 8)
    assert (maps[:, ~block.alive()] == 0).all()
    assert (maps[:, block.alive()].abs().sum(dim=(0, 2, 3)) > 0).all()
    assert block.code_filters().shape == (block.codes_alive, 6, 3, 3)


def test_repaired_expansions_are_what_runs():
    block = squeezed(pr_max=0.6)
    filters = torch.randn(10, block.codes_alive, 1, 1)
    block.set_expansion(filters)
    assert torch.allclose(block.expansion_filters(), filters, atol=1e-6)


def test_the_same_steps_give_the_same_bits():
    one, other = squeezed(80), squeezed(80)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_from_scratch_is_seeded_and_can_be_trained():
    own, options = conv(), ALFOptions(pr_max=0.5)
    made = [
        ALFConv2d.from_scratch(own, options, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    ]
    assert torch.equal(made[0].weight, made[1].weight)
    assert not torch.equal(made[0].weight, made[2].weight)
    assert not torch.equal(made[0].weight, own.weight)
    spread = made[0](images()).std()
    assert 0.3 < spread < 3
    for _ in range(200):
        made[0].autoencoder_step()
    assert made[0].codes_alive < 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pr_max": 1.2}, r"pr_max=1.2 must be in \[0, 1\]"),
        ({"pr_max": float("nan")}, "pr_max=nan"),
        ({"threshold": -1e-4}, "threshold=-0.0001"),
        ({"m": 0}, "m=0 must be"),
        ({"weight": -1}, "weight=-1"),
        ({"updates": 0}, "updates=0"),
        ({"sigma_ae": "relu"}, "sigma_ae='relu'"),
        ({"gradient": "none"}, "gradient='none'"),
        ({"mask_learning_rate": float("inf")}, "mask_learning_rate=inf"),
    ],
)
def test_constants_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ALFOptions(**options)


def test_convolutions_that_are_not_supported():
    with pytest.raises(ValueError, match="groups=2"):
        ALFConv2d(nn.Conv2d(4, 4, 3, groups=2), ALFOptions())
    with pytest.raises(ValueError, match="reflect"):
        ALFConv2d(nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), ALFOptions())
    with pytest.raises(ValueError, match="padding='same'"):
        ALFConv2d(nn.Conv2d(4, 4, 3, padding="same"), ALFOptions())
    network = tiny_residual()
    with pytest.raises(ValueError, match="no layer 'nowhere'"):
        to_alf(network, ["nowhere"], ALFOptions())
    with pytest.raises(ValueError, match="'head' is a Linear"):
        to_alf(network, ["head"], ALFOptions())


def test_a_diverged_block_says_so():
    block = ALFConv2d(conv(), ALFOptions())
    with torch.no_grad():
        block.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(PruneGymError, match="diverged"):
        block.autoencoder_step()


@pytest.mark.parametrize("sigma_ae", ["linear", "tanh"])
def test_folding_the_mask_changes_no_output(residual_trained, sigma_ae):
    network, _ = residual_trained
    module = to_alf(network, ["down"], ALFOptions(pr_max=0.9, sigma_ae=sigma_ae))
    block = module.get_submodule("down")
    while block.codes_alive == 10:
        block.autoencoder_step()
    x = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, error = block(x), block.reconstruction_error()
        assert block.codes_alive < 10
        assert (block.mask < 0.9).all()
        block.fold()
        assert torch.allclose(block(x), before, atol=1e-5)
    assert block.reconstruction_error() == pytest.approx(error, rel=1e-3)
    assert set(block.mask.tolist()) == {0, 1}
