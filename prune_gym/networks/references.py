"""Networks that are not built in: functions, torchvision's models, saved folders and modules."""

import inspect
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from prune_gym.errors import PruneGymError, UnknownNameError
from prune_gym.networks.network import Network
from prune_gym.pruning import derive, verify_spaces
from prune_gym.torchvision_import import models
from prune_gym.trust import current_folder, import_object

TORCHVISION = "torchvision:"
FORMS = ("package.module:function", "torchvision:NAME", "the folder of a saved network")
"""What a reference can be, besides the name of a built-in network."""
_AUXILIARY = ("googlenet", "inception_v3")
"""Models of torchvision with further outputs for the training, which are left out."""

Shape = tuple[int, int, int]


def is_reference(name: str) -> bool:
    """Whether a name is that of a function, a torchvision model or a folder."""
    return ":" in name or os.path.isdir(name)  # a long name is no error


def build_reference(reference: str, num_classes: int, shape: Shape) -> Network:
    """Build a network that is not built in.

    Args:
        reference: One of :data:`FORMS`. A function takes (num_classes, image_size), ``num_classes``
            alone or nothing, and returns a module or a :class:`Network`.
        num_classes: Number of classes.
        shape: Channels, height and width of an image.

    Raises:
        UnknownNameError: If there is no such function, model or folder.
        PruneGymError: If torchvision is missing, a function returns something else, or the spaces
            cannot be derived or are wrong.
    """
    if reference.startswith(TORCHVISION):
        module = _torchvision_model(reference, num_classes)
        return of_module(module, num_classes, shape, reference)
    if ":" in reference:
        return _of_function(reference, num_classes, shape)
    return _saved(reference)


def of_module(module: nn.Module, num_classes: int, shape: Shape, reference: str = "") -> Network:
    """A network with derived spaces.

    Args:
        module: Module that maps normalised images to logits; it is not changed.
        num_classes: Number of classes.
        shape: Channels, height and width of an image.
        reference: Name by which the network can be built again; by default that of the class, by
            which it cannot.

    Raises:
        PruneGymError: If the module cannot be traced, or none of its channels can be pruned.
    """
    found = derive(module, shape)
    name = reference or f"a module of class {type(module).__name__}"
    if not found.spaces:
        reasons = "; ".join(f"{f.layer}: {f.reason}" for f in found.fixed[:3])
        raise PruneGymError(f"{name}: no channels can be pruned ({reasons}).")
    return Network(name, found.module, found.spaces, shape, num_classes)


def _torchvision_model(reference: str, num_classes: int) -> nn.Module:
    name = reference.removeprefix(TORCHVISION)
    known = models().list_models(models())
    if name not in known:
        raise UnknownNameError("torchvision model", name, known)
    given: dict[str, Any] = {"weights": None, "num_classes": num_classes}
    if name in _AUXILIARY:
        given |= {"aux_logits": False, "init_weights": False}
    module: nn.Module = models().get_model(name, **given)
    return module


def _of_function(reference: str, num_classes: int, shape: Shape) -> Network:
    function = _function(reference)
    with current_folder():  # the function may import its neighbours
        found = function(**_arguments(function, num_classes, shape[1]))
    if isinstance(found, Network):
        _verify(found, reference)
        return found
    if not isinstance(found, nn.Module):
        raise PruneGymError(
            f"{reference} returned a {type(found).__name__}; it must return a torch.nn.Module or a "
            "prune_gym.networks.Network."
        )
    return of_module(found, num_classes, shape, reference)


def _function(reference: str) -> Callable[..., object]:
    try:
        function = import_object(reference)
    except (ImportError, AttributeError, ValueError) as error:
        raise UnknownNameError("network", reference, FORMS) from error
    if not callable(function):
        raise PruneGymError(f"{reference} is a {type(function).__name__}, not a function.")
    return function


def _arguments(
    function: Callable[..., object], num_classes: int, image_size: int
) -> dict[str, int]:
    """The arguments that a function takes, by name."""
    wanted = list(inspect.signature(function).parameters.values())
    known = {"num_classes": num_classes, "image_size": image_size}
    given = {p.name: known[p.name] for p in wanted if p.name in known}
    needed = [p for p in wanted if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(needed) == len(known):  # builders may call their arguments as they like
        return dict(zip([p.name for p in needed], known.values(), strict=True))
    return given


def _verify(network: Network, reference: str) -> None:
    """Verify the spaces that a function wrote by hand."""
    try:
        verify_spaces(network.module, network.spaces, network.input_shape)
    except ValueError as error:
        raise PruneGymError(f"{reference}: {error}.") from error


def _saved(folder: str) -> Network:
    # Imported here because saved networks are built with this package.
    from prune_gym.pruning.saved import load_network

    network, _ = load_network(folder)
    return replace(network, architecture=str(Path(folder).resolve()))
