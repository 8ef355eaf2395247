"""Networks as data: the calls of a forward pass, which are read without the network's source.

A saved network of the user's own can thus be opened on a machine that does not have its module.
Only known layers and operations are written and read, so that a file cannot run anything else. No
code is generated from a file.
"""

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from prune_gym.errors import PruneGymError
from prune_gym.jsonfile import Count, JsonRecord, Whole
from prune_gym.pruning.channel_map import ChannelMap, ChannelPad
from prune_gym.pruning.operations import NAMES
from prune_gym.pruning.spaces import ChannelSpace, Place, Side
from prune_gym.pruning.tracing import constant, in_mode, same_in_training, trace
from prune_gym.weights import shared_names

_HOMES: dict[str, object] = {
    "torch": torch,
    "functional": functional,
    "operator": operator,
    "math": math,
    "nn": torch._C._nn,
}
_FURTHER = """
argmax baddbmm bmm cumsum dim einsum group_norm layer_norm log_softmax max matmul min normalize
numel ones_like prod scaled_dot_product_attention size softmax stack t unbind zeros_like
"""
_OPERATIONS = frozenset(NAMES) | frozenset(_FURTHER.split())
"""Names of functions and of methods of tensors that a file may hold."""
_ATTRIBUTES = ("shape", "dtype", "device", "ndim", "T", "mT")
_OWN_LAYERS: dict[str, type[nn.Module]] = {"ChannelMap": ChannelMap, "ChannelPad": ChannelPad}
_FUNCTIONS: dict[str, Any] = {
    f"{home}.{name}": getattr(module, name)
    for home, module in _HOMES.items()
    for operation in sorted(_OPERATIONS)
    for name in (operation, f"{operation}_")
    if callable(getattr(module, name, None))
}
"""Functions by the names that a file may hold."""
_NAMES = {function: name for name, function in reversed(_FUNCTIONS.items())}


class NoDataError(PruneGymError):
    """A network cannot be written as data, or data describes no network."""


@dataclass(frozen=True)
class Call:
    """One call of a forward pass.

    Args:
        op: Kind of call, as in ``torch.fx``: ``placeholder``, ``get_attr``, ``call_module``,
            ``call_function``, ``call_method`` or ``output``.
        target: Name of the layer, tensor, function (``"torch.cat"``) or method.
        args: Arguments as data, see :func:`_encode`.
        kwargs: Arguments by name.
    """

    op: str
    target: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True)
class Layer:
    """A layer: its class, and the arguments of its constructor as data."""

    kind: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Loose:
    """A tensor that belongs to no layer."""

    shape: tuple[Count, ...]
    dtype: str
    trained: bool


@dataclass(frozen=True)
class SpaceData:
    """A :class:`ChannelSpace`; a place is (layer, side, slots)."""

    name: str
    channels: Whole
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    followers: tuple[str, ...]
    places: tuple[tuple[str, Side, tuple[tuple[Count, ...], ...]], ...]


@dataclass(frozen=True)
class NetworkData(JsonRecord):
    """A network as data: calls in order, layers and loose tensors by name, channel spaces.

    ``shared`` holds for each further name of a tensor that layers share its first name.
    """

    SCHEMA = 1

    calls: tuple[Call, ...]
    layers: Mapping[str, Layer]
    tensors: Mapping[str, Loose]
    spaces: tuple[SpaceData, ...]
    shared: Mapping[str, str]


def to_data(module: nn.Module, spaces: Sequence[ChannelSpace]) -> NetworkData:
    """Write a network as data.

    Raises:
        NoDataError: If the network has a layer, an operation or an argument that cannot be
            written, or makes other calls in training; the message names it.
        TraceError: If the forward pass cannot be traced.
    """
    if not same_in_training(module):
        raise NoDataError("it makes other calls in training")
    with in_mode(module, training=False):
        nodes = list(trace(module).nodes)
    number = {node: index for index, node in enumerate(nodes)}
    layers: dict[str, Layer] = {}
    tensors: dict[str, Loose] = {}
    for node in nodes:
        name = str(node.target)
        if node.op == "call_module":
            layers[name] = _layer(module.get_submodule(name), name)
        elif node.op == "get_attr":
            if constant(node) is not None:
                raise NoDataError("its forward pass makes a tensor; register it as a buffer")
            tensors[name] = _loose(module, name)
    for name in module.state_dict():  # of layers that the forward pass does not call
        owner = name.rpartition(".")[0]
        if name not in tensors and not _inside(owner, layers):
            layers[owner] = _layer(module.get_submodule(owner), owner)
    calls = tuple(
        Call(
            node.op,
            _target(node),
            tuple(_encode(each, number) for each in node.args),
            {key: _encode(each, number) for key, each in node.kwargs.items()},
        )
        for node in nodes
    )
    described = tuple(_space(space) for space in spaces)
    return NetworkData(calls, layers, tensors, described, shared_names(module))


def _inside(name: str, layers: Mapping[str, Layer]) -> bool:
    """Whether a module is one of the layers, or part of one."""
    parts = name.split(".")
    return any(".".join(parts[: count + 1]) in layers for count in range(len(parts)))


def from_data(data: NetworkData) -> tuple["DataNet", tuple[ChannelSpace, ...]]:
    """Make a network, whose weights are arbitrary, and its channel spaces.

    Raises:
        NoDataError: If the data describes no network.
    """
    try:
        return DataNet(data), tuple(_from_space(space) for space in data.spaces)
    except NoDataError:
        raise
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError) as error:
        raise NoDataError(f"the data describes no network ({error})") from error


class DataNet(nn.Module):
    """A network that is made from data.

    Args:
        data: Calls, layers and tensors; the weights are arbitrary.

    Raises:
        NoDataError: If a call, layer or tensor is unknown.
    """

    def __init__(self, data: NetworkData) -> None:
        super().__init__()
        for name, layer in data.layers.items():
            self._put(name, _make_layer(layer, name))
        for name, loose in data.tensors.items():
            self._put_tensor(name, loose)
        for name, first in data.shared.items():
            (parent, last), (other, tensor) = self._parent(name), self._parent(first)
            setattr(parent, last, getattr(other, tensor))
        self._functions = [_function(call) for call in data.calls]
        self._calls = data.calls
        self._released = _released(data.calls)
        if not data.calls or data.calls[-1].op != "output":
            raise NoDataError("the calls do not end with an output")
        if sum(call.op == "placeholder" for call in data.calls) != 1:
            raise NoDataError("the calls do not have the images as their one argument")
        known = {"call_module": data.layers, "get_attr": data.tensors}
        for call in data.calls:
            if call.op in known and call.target not in known[call.op]:
                raise NoDataError(f"{call.op} {call.target!r} is not described")

    def _put(self, name: str, layer: nn.Module) -> None:
        parent, last = self._parent(name)
        parent.add_module(last, layer)

    def _put_tensor(self, name: str, loose: Loose) -> None:
        dtype = getattr(torch, loose.dtype, None)
        if not isinstance(dtype, torch.dtype):
            raise NoDataError(f"the tensor {name!r} has an unknown type {loose.dtype!r}")
        parent, last = self._parent(name)
        tensor = torch.zeros(loose.shape, dtype=dtype)
        if loose.trained:
            parent.register_parameter(last, nn.Parameter(tensor))
        else:
            parent.register_buffer(last, tensor)

    def _parent(self, name: str) -> tuple[nn.Module, str]:
        """The module that holds a name, made if needed, and the last part of the name."""
        *path, last = name.split(".")
        parent: nn.Module = self
        for part in path:
            if part not in parent._modules:
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        return parent, last

    def forward(self, x: Tensor) -> Any:
        """Run the calls."""
        values: dict[int, Any] = {}
        for index, call in enumerate(self._calls):
            if call.op == "placeholder":
                values[index] = x
                continue
            args = [_decode(each, values) for each in call.args]
            kwargs = {name: _decode(each, values) for name, each in call.kwargs.items()}
            if call.op == "output":
                return args[0]
            if call.op == "call_module":
                values[index] = self.get_submodule(call.target)(*args, **kwargs)
            elif call.op == "get_attr":
                path, _, last = call.target.rpartition(".")
                values[index] = getattr(self.get_submodule(path), last)
            else:
                function = self._functions[index]
                assert function is not None
                values[index] = function(*args, **kwargs)
            for done in self._released[index]:
                del values[done]
        raise AssertionError("unreachable: the last call is the output")


def _released(calls: Sequence[Call]) -> list[list[int]]:
    """For each call the values that no later call reads; checks that calls read earlier ones."""
    last: dict[int, int] = {}
    for index, call in enumerate(calls):
        last[index] = index
        for source in _sources([call.args, call.kwargs]):
            if not 0 <= source < index:
                raise NoDataError(f"call {index} reads the value of call {source}")
            last[source] = index
    found: list[list[int]] = [[] for _ in calls]
    for value, reader in last.items():
        if calls[value].op != "placeholder" or reader != value:
            found[reader].append(value)
    return found


def _sources(value: Any) -> list[int]:
    """Numbers of the calls whose values an argument holds."""
    if isinstance(value, Mapping):
        if set(value) == {"call"}:
            return [int(value["call"])]
        return [source for each in value.values() for source in _sources(each)]
    if isinstance(value, list | tuple):
        return [source for each in value for source in _sources(each)]
    return []


def _function(call: Call) -> Callable[..., Any] | None:
    """The function of a call; None if it calls none."""
    if call.op in ("placeholder", "get_attr", "call_module", "output"):
        return None
    if call.op == "call_method" and call.target.removesuffix("_") in _OPERATIONS:
        return _Method(call.target)
    if call.op == "call_function" and call.target == "builtins.getattr":
        return _attribute
    if call.op == "call_function" and call.target in _FUNCTIONS:
        function: Callable[..., Any] = _FUNCTIONS[call.target]
        return function
    raise NoDataError(f"the operation {call.op} {call.target!r} is unknown")


@dataclass(frozen=True)
class _Method:
    """A method of tensors, by name."""

    name: str

    def __call__(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(value, self.name)(*args, **kwargs)


def _attribute(value: Any, name: str) -> Any:
    if name not in _ATTRIBUTES:
        raise NoDataError(f"the attribute {name!r} of a tensor is unknown")
    return getattr(value, name)


def _target(node: fx.Node) -> str:
    """The target of a call as text.

    Raises:
        NoDataError: If it is an unknown function or method.
    """
    if node.op == "call_function":
        if node.target is getattr:
            return "builtins.getattr"
        assert callable(node.target)
        if node.target in _NAMES:
            return _NAMES[node.target]
        raise NoDataError(
            f"the function {getattr(node.target, '__name__', node.target)} is unknown"
        )
    if node.op == "call_method" and str(node.target).removesuffix("_") not in _OPERATIONS:
        raise NoDataError(f"the method {node.target!r} is unknown")
    return str(node.target)


def _encode(value: Any, number: Mapping[fx.Node, int]) -> Any:
    """An argument as data: a list stays a list, all other containers become tables."""
    if isinstance(value, fx.Node):
        return {"call": number[value]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, tuple):
        return {"tuple": [_encode(each, number) for each in value]}
    if isinstance(value, list):
        return [_encode(each, number) for each in value]
    if isinstance(value, slice):
        return {"slice": [_encode(each, number) for each in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    raise NoDataError(f"the argument {str(value)[:40]!r} is unknown")


def _decode(value: Any, values: Mapping[int, Any]) -> Any:
    """The inverse of :func:`_encode`, with the values of earlier calls."""
    if isinstance(value, list | tuple):
        return [_decode(each, values) for each in value]
    if not isinstance(value, Mapping):
        return value
    ((kind, content),) = value.items()
    if kind == "call":
        return values[content]
    if kind == "tuple":
        return tuple(_decode(each, values) for each in content)
    if kind == "slice":
        return slice(*(_decode(each, values) for each in content))
    if kind == "ellipsis":
        return Ellipsis
    if kind == "dtype" and isinstance(dtype := getattr(torch, content, None), torch.dtype):
        return dtype
    raise NoDataError(f"the argument {kind!r} is unknown")


def _layer(layer: nn.Module, name: str) -> Layer:
    """A layer as data: the arguments of a constructor are attributes of the same names."""
    kind = type(layer)
    known = getattr(nn, kind.__name__, _OWN_LAYERS.get(kind.__name__))
    if known is not kind and kind.__name__ != "StochasticDepth":
        raise NoDataError(f"the layer {name!r} is of class {kind.__name__}")
    arguments: dict[str, Any] = {}
    if isinstance(layer, ChannelMap):
        arguments["source"] = layer.source.tolist()
    for parameter, taken in inspect.signature(kind).parameters.items():
        starred = taken.kind in (taken.VAR_POSITIONAL, taken.VAR_KEYWORD)
        if starred or parameter in ("device", "dtype", "source"):
            continue
        if parameter == "bias" and isinstance(getattr(layer, "bias", 0), Tensor | None):
            value: Any = layer.bias is not None
        elif hasattr(layer, parameter):
            value = getattr(layer, parameter)
        else:
            raise NoDataError(f"the layer {name!r} is of class {kind.__name__}")
        arguments[parameter] = _encode(value, {})
    return Layer(kind.__name__, arguments)


def _make_layer(layer: Layer, name: str) -> nn.Module:
    kind = _OWN_LAYERS.get(layer.kind) or getattr(nn, layer.kind, None)
    if layer.kind == "StochasticDepth":
        from prune_gym.torchvision_import import stochastic_depth

        kind = stochastic_depth()
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise NoDataError(f"the layer {name!r} is of an unknown class {layer.kind!r}")
    arguments = {key: _decode(value, {}) for key, value in layer.arguments.items()}
    if kind in (ChannelMap, ChannelPad):
        return _make_map(layer.kind, arguments)
    made: nn.Module = kind(**arguments)
    return made


def _make_map(kind: str, arguments: dict[str, Any]) -> ChannelMap:
    with torch.device("cpu"):  # its numbers are needed, also where no tensor has values
        if kind == ChannelMap.__name__:
            return ChannelMap(**arguments)
        # The map of a shortcut is another one after a cut.
        source = torch.tensor(arguments.pop("source"), dtype=torch.int64)
        pad = ChannelPad(**arguments)
        pad.source = source
        return pad


def _loose(module: nn.Module, name: str) -> Loose:
    path, _, last = name.rpartition(".")
    tensor = getattr(module.get_submodule(path), last)
    if not isinstance(tensor, Tensor) or name not in module.state_dict():
        raise NoDataError(f"the forward pass reads {name!r}, which is not saved")
    dtype = str(tensor.dtype).removeprefix("torch.")
    return Loose(tuple(tensor.shape), dtype, isinstance(tensor, nn.Parameter))


def _space(space: ChannelSpace) -> SpaceData:
    places = tuple(
        (place.layer, place.side, tuple(map(tuple, place.slots.tolist()))) for place in space.places
    )
    members = space.producers, space.consumers, space.followers
    return SpaceData(space.name, space.channels, *members, places)


def _from_space(data: SpaceData) -> ChannelSpace:
    places = tuple(Place(layer, side, np.array(slots)) for layer, side, slots in data.places)
    members = data.producers, data.consumers, data.followers
    return ChannelSpace(data.name, data.channels, *members, places)
