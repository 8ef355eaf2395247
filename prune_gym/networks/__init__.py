"""Networks to prune: built-in architectures, and architectures that the user registers."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from prune_gym.data import Normalization
from prune_gym.errors import UnknownNameError
from prune_gym.networks.mobilenetv2 import MobileNetV2
from prune_gym.networks.plain import PlainNet, plain_spaces
from prune_gym.networks.resnet import ResNet, resnet_spaces
from prune_gym.networks.resnet18 import ResNet18
from prune_gym.networks.vgg import VGG16
from prune_gym.pruning import ChannelSpace, derive

__all__ = ["Network", "build", "names", "register"]


@dataclass(frozen=True)
class Network:
    """A network with its channel spaces.

    Args:
        architecture: Registered name, or ``"package.module:function"`` of a function that takes
            (num_classes, image_size) and returns a :class:`Network`.
        module: Module that maps normalised images (N, C, H, W) to logits (N, num_classes).
        spaces: Channel spaces, from input to output.
        input_shape: Channels, height and width of an image.
        num_classes: Number of classes.
        normalization: Normalisation with which the network was trained; None for
            :meth:`Normalization.default`.

    Raises:
        ValueError: If the normalisation is for images with another number of channels.
    """

    architecture: str
    module: nn.Module
    spaces: tuple[ChannelSpace, ...]
    input_shape: tuple[int, int, int] = (3, 32, 32)
    num_classes: int = 10
    normalization: Normalization | None = None

    def __post_init__(self) -> None:
        channels = self.input_shape[0]
        if self.normalize.channels != channels:
            raise ValueError(
                f"{self.architecture}: the images have {channels} channels, but the normalization "
                f"has {self.normalize.channels} values; give one mean and std for each channel"
            )

    @property
    def normalize(self) -> Normalization:
        """The normalisation in use: pixels to the input of the module."""
        return self.normalization or Normalization.default(self.input_shape[0])


Builder = Callable[[int, int], Network]
_BUILDERS: dict[str, Builder] = {}


def register(name: str, builder: Builder) -> None:
    """Register an architecture.

    Args:
        name: Name of the architecture.
        builder: Function that takes (num_classes, image_size) and returns an untrained
            :class:`Network`.

    Raises:
        ValueError: If the name is already registered.
    """
    if name in _BUILDERS:
        raise ValueError(f"a network named {name!r} is already registered")
    _BUILDERS[name] = builder


def names() -> list[str]:
    """Names of the registered architectures, sorted."""
    return sorted(_BUILDERS)


def build(architecture: str, num_classes: int = 10, image_size: int = 32) -> Network:
    """Build an untrained network.

    Args:
        architecture: Registered name, or ``"package.module:function"``.
        num_classes: Number of classes.
        image_size: Height and width of the images.

    Returns:
        The network, initialised with torch's global random generator.

    Raises:
        UnknownNameError: If the architecture does not exist.
    """
    if architecture in _BUILDERS:
        return _BUILDERS[architecture](num_classes, image_size)
    if ":" not in architecture:
        raise UnknownNameError("network", architecture, [*names(), "package.module:function"])
    module_name, _, function = architecture.partition(":")
    try:
        builder: Builder = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise UnknownNameError("network", architecture, names()) from error
    return builder(num_classes, image_size)


def _resnet(name: str, depth: int, option: str, classes: int, size: int) -> Network:
    module = ResNet(depth, classes, option)
    return Network(name, module, resnet_spaces(depth, option), (3, size, size), classes)


def _plain(name: str, depth: int, classes: int, size: int) -> Network:
    module = PlainNet(depth, classes)
    return Network(name, module, plain_spaces(depth), (3, size, size), classes)


def _derived(name: str, make: Callable[[int, int], nn.Module], classes: int, size: int) -> Network:
    """A network whose spaces are derived; the tests verify them, so that building it is fast."""
    shape = (3, size, size)
    found = derive(make(classes, size), shape, verify=False)
    return Network(name, found.module, found.spaces, shape, classes)


for _depth in (20, 56):
    for _option, _suffix in (("A", ""), ("B", "b")):
        _name = f"resnet{_depth}{_suffix}"
        register(_name, partial(_resnet, _name, _depth, _option))
register("plain20", partial(_plain, "plain20", 20))

_DERIVED: dict[str, Callable[[int, int], nn.Module]] = {
    "mobilenetv2": lambda classes, size: MobileNetV2(classes),
    "mobilenetv2_half": lambda classes, size: MobileNetV2(classes, width=0.5),
    "resnet18": lambda classes, size: ResNet18(classes),
    "vgg16": lambda classes, size: VGG16(classes, image_size=size),
    # A quarter of the units is too few to train with dropout.
    "vgg16_quarter": lambda classes, size: VGG16(classes, 0.25, size, dropout=0.0),
}
for _name, _make in _DERIVED.items():
    register(_name, partial(_derived, _name, _make))
