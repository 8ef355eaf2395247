"""Networks to prune: built-in architectures, and architectures that the user registers.

Other packages add networks through the entry-point group ``prune_gym.networks``: functions as
:func:`prune_gym.networks.references.build_reference` takes them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata

from torch import nn

from prune_gym import trust
from prune_gym.errors import UnknownNameError
from prune_gym.networks.mobilenetv2 import MobileNetV2
from prune_gym.networks.network import Network
from prune_gym.networks.plain import PlainNet, plain_spaces
from prune_gym.networks.references import (
    FORMS,
    TORCHVISION,
    build_reference,
    is_reference,
    of_module,
)
from prune_gym.networks.resnet import ResNet, resnet_spaces
from prune_gym.networks.resnet18 import ResNet18
from prune_gym.networks.vgg import VGG16
from prune_gym.pruning import derive

__all__ = [
    "Network",
    "build",
    "check_trusted",
    "is_known",
    "is_reference",
    "names",
    "of_module",
    "register",
]


GROUP = "prune_gym.networks"
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
    """Names of the registered architectures, those of installed packages included, sorted."""
    return sorted({*_BUILDERS, *_others()})


def is_known(name: str) -> bool:
    """Whether a network is built in, torchvision's, or registered by an installed package.

    Such a name needs no trust if a file holds it (:mod:`prune_gym.trust`).
    """
    return name in _BUILDERS or name.startswith(TORCHVISION) or name in _others()


def check_trusted(name: object, where: str) -> None:
    """Refuse a network that a file names, unless it is known or the user trusts it.

    Args:
        name: The name in the file.
        where: The file, for the error.

    Raises:
        UntrustedError: If building the network would import a module that is not trusted.
    """
    trust.check("network", name, is_known, where)


def build(
    architecture: str, num_classes: int = 10, image_size: int = 32, image_channels: int = 3
) -> Network:
    """Build a network that is not trained, or as its function or folder returns it.

    Args:
        architecture: Registered name, ``"package.module:function"``, ``"torchvision:NAME"``, or
            the folder of a saved network (:func:`build_reference`).
        num_classes: Number of classes.
        image_size: Height and width of the images.
        image_channels: Channels of the images; registered networks take RGB images.

    Returns:
        The network. A registered one is initialised with torch's global random generator.

    Raises:
        UnknownNameError: If the architecture does not exist.
        PruneGymError: If its spaces cannot be derived.
    """
    if architecture in _BUILDERS:
        return _BUILDERS[architecture](num_classes, image_size)
    shape = (image_channels, image_size, image_size)
    if is_reference(architecture):
        return build_reference(architecture, num_classes, shape)
    if architecture in (others := _others()):
        network = build_reference(others[architecture], num_classes, shape)
        return replace(network, architecture=architecture)
    raise UnknownNameError("network", architecture, [*names(), *FORMS])


def _others() -> dict[str, str]:
    """Import paths of the networks of installed packages; own names take precedence."""
    found = metadata.entry_points(group=GROUP)
    return {entry.name: entry.value for entry in found if entry.name not in _BUILDERS}


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
