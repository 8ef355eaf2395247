"""Verify channel spaces by running the network: a masked network must equal the cut one."""

import contextlib
import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from prune_gym.errors import PruneGymError
from prune_gym.pruning.check import check_spaces
from prune_gym.pruning.cut import dense, masked
from prune_gym.pruning.spaces import ChannelSpace, Masks
from prune_gym.pruning.tracing import full_precision, in_mode

InputShape = tuple[int, int, int]
IMAGES = 2
TOLERANCE = 1e-4
"""Largest difference that counts as rounding, relative to the largest output."""


class SpacesError(PruneGymError, ValueError):
    """A channel space does not describe the network."""


def verify_spaces(
    network: nn.Module, spaces: Sequence[ChannelSpace], input_shape: InputShape
) -> None:
    """Verify that each space describes a network.

    The spaces are cut and masked with random masks, on copies of the network with its own scales
    and with random ones, so that a scale of zero or a saturated gate hides nothing. Both networks
    must return the same for random images, and the cut one must also run in training mode.

    Args:
        network: The network; it does not change.
        spaces: Channel spaces of the network.
        input_shape: Channels, height and width of an image.

    Raises:
        SpacesError: If a space is wrong; the message names it.
        ValueError: If the spaces do not fit the network (:func:`prune_gym.pruning.check_spaces`).
    """
    check_spaces(network, spaces)
    for name, reason in wrong_spaces(network, spaces, input_shape).items():
        raise SpacesError(
            f"space {name!r} does not describe the network: {reason}; declare all layers between "
            "its producers and consumers, or let prune_gym derive the spaces"
        )


def wrong_spaces(
    network: nn.Module, spaces: Sequence[ChannelSpace], input_shape: InputShape
) -> dict[str, str]:
    """The spaces that do not describe a network, each with the reason; see :func:`verify_spaces`.

    All spaces are tested together. If the test fails, each is tested alone, and those that pass
    are tested together again.
    """
    if not spaces:
        return {}
    test = _Test(network, input_shape)
    if test.reason(spaces) is None:
        return {}
    wrong = {space.name: reason for space in spaces if (reason := test.reason([space]))}
    rest = [space for space in spaces if space.name not in wrong]
    if rest and (reason := test.reason(rest)):
        # No single space fails, but their combination does.
        wrong |= {space.name: f"together with others, {reason}" for space in rest}
    return wrong


@torch.no_grad()
def same_outputs(first: nn.Module, second: nn.Module, input_shape: InputShape) -> bool:
    """Whether two networks with the same layers return the same in both modes."""
    images = random_images(first, input_shape)
    for training in (False, True):
        outputs = []
        for network in (first, second):
            with torch.random.fork_rng(), full_precision():
                torch.manual_seed(0)
                outputs.append(copy.deepcopy(network).train(training)(images.clone()))
        if _difference(outputs[1], outputs[0]):
            return False
    return True


def random_images(network: nn.Module, input_shape: InputShape) -> Tensor:
    """Two random images on the network's device."""
    parameter = next(network.parameters())
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, *input_shape, generator=generator)
    return images.to(parameter.device, parameter.dtype)


def random_masks(spaces: Sequence[ChannelSpace], seed: int, single: bool = False) -> Masks:
    """A random mask of each space, which removes and keeps at least one channel if it can.

    Args:
        spaces: The channel spaces.
        seed: Seed of the masks.
        single: Whether each mask keeps one channel only.
    """
    rng = np.random.default_rng(seed)
    masks = {}
    for space in spaces:
        mask = rng.random(space.channels) < rng.uniform(0.3, 0.8)
        first, second = rng.permutation(space.channels)[[0, -1]]
        if single:
            mask[:] = False
        mask[second], mask[first] = False, True
        masks[space.name] = mask
    return masks


class _Test:
    """Compares masked and cut copies of a network."""

    def __init__(self, network: nn.Module, input_shape: InputShape) -> None:
        self.images = random_images(network, input_shape)
        # Random scales show a branch of weight zero, but may saturate a gate.
        scaled, plain = copy.deepcopy(network).eval(), copy.deepcopy(network).eval()
        _randomise(scaled)
        for each in (scaled, plain):
            with torch.no_grad(), in_mode(each, training=False):
                _calibrate(each, self.images)
        # Torch treats a dimension of one channel as a special case (squeeze, broadcasting).
        self.rounds = [(scaled, False), (plain, False), (scaled, False), (scaled, True)]

    def reason(self, spaces: Sequence[ChannelSpace]) -> str | None:
        """Why spaces do not describe the network; None if they do."""
        for seed, (network, single) in enumerate(self.rounds):
            masks = random_masks(spaces, seed, single)
            try:
                cut = dense(network, spaces, masks, share=True)
                difference = _outputs_differ(cut, masked(network, spaces, masks), self.images)
            except Exception as error:  # torch raises many types for wrong shapes
                return f"the cut network fails: {_line(error)}"
            if difference and not _rounding(network, spaces, masks, self.images):
                return f"the cut network differs from the masked one by {difference}"
        try:
            with torch.no_grad():
                copy.deepcopy(cut).train()(self.images)
        except Exception as error:
            return f"the cut network fails in training mode: {_line(error)}"
        return None


@torch.no_grad()
def _outputs_differ(first: nn.Module, second: nn.Module, images: Tensor) -> str | None:
    with full_precision():
        return _difference(first(images), second(images))


def _rounding(
    network: nn.Module, spaces: Sequence[ChannelSpace], masks: Masks, images: Tensor
) -> bool:
    """Whether cut and masked network are the same in double precision.

    A batch norm whose channel hardly varies over two images amplifies rounding, which depends on
    the processor's vector instructions.
    """
    try:
        double = copy.deepcopy(network).double()
        cut, whole = dense(double, spaces, masks, share=True), masked(double, spaces, masks)
        return _outputs_differ(cut, whole, images.double()) is None
    except Exception:  # the network names a type, or the device has no doubles
        return False


def _difference(found: Tensor, expected: Tensor) -> str | None:
    """How far outputs differ; None if no further than by rounding."""
    scale = float(expected.abs().max())
    difference = float((found - expected).abs().max())
    # A comparison with NaN is false.
    if difference <= TOLERANCE * scale:
        return None
    return f"{difference:.2g} of outputs of {scale:.2g}"


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _randomise(network: nn.Module) -> None:
    """Give norms and other scales random values, so that no branch is zero."""
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        values = parameter.data
        if max(values.shape, default=1) == values.numel() or not values.any():
            spread = torch.rand(values.shape, generator=generator) + 0.5
            values.copy_(spread if values.dim() < 2 or parameter.any() else spread * 0.1)


def _calibrate(network: nn.Module, images: Tensor) -> None:
    """Set the statistics of batch norms to those of the images."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    # A norm with one value per channel has no statistics.
    with contextlib.suppress(ValueError):
        network(images)
    for norm in norms:
        norm.eval()
