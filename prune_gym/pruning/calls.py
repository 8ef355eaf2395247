"""Trace the calls of a network that multiply: layers, and products outside layers."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from prune_gym.pruning.layer_geometry import LayerGeometry, Pair, Width
from prune_gym.pruning.rules import RULES, Conv, Transposed
from prune_gym.pruning.spaces import ChannelSpace, Side, iterate_roles, iterate_sides
from prune_gym.pruning.tracing import in_mode

_aten = torch.ops.aten
_ATTENTION = {
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
}
_UNCOUNTED = (
    "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd",
    "_trilinear",
    "mkldnn_rnn_layer",
    "lstm",
    "gru",
    "rnn",
    "embedding_bag",
)
"""Parts of the names of torch operations that multiply and cannot be counted."""

Widths = dict[tuple[str, Side], tuple[tuple[str, int, int], ...]]


def trace_calls(
    network: nn.Module, spaces: Sequence[ChannelSpace], input_shape: tuple[int, int, int]
) -> tuple[LayerGeometry, ...]:
    """Run one zero image and describe all calls that multiply, in execution order.

    Args:
        network: The network; its mode does not change.
        spaces: Channel spaces that fit the network.
        input_shape: Channels, height and width of an image.

    Raises:
        ValueError: If an operation has weights and cannot be counted.
    """
    recorder = _Recorder(network, spaces)
    parameter = next(network.parameters())
    image = torch.zeros(1, *input_shape, device=parameter.device, dtype=parameter.dtype)
    with ExitStack() as stack:
        stack.enter_context(in_mode(network, training=False))
        stack.enter_context(_slow_attention())
        for name, module in network.named_modules():
            enter, leave = recorder.hooks(name, module)
            stack.callback(module.register_forward_pre_hook(enter, prepend=True).remove)
            after = module.register_forward_hook(leave, with_kwargs=True, always_call=True)
            stack.callback(after.remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(recorder)
        network(image)
    return tuple(recorder.found)


@contextmanager
def _slow_attention() -> Iterator[None]:
    """Run attention without its fused kernel, whose products cannot be counted."""
    fast = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class _Recorder(TorchDispatchMode):
    """Records the calls of layers by hooks, and products outside layers as torch runs them."""

    def __init__(self, network: nn.Module, spaces: Sequence[ChannelSpace]) -> None:
        super().__init__()
        self.found: list[LayerGeometry] = []
        self._widths = _widths(network, spaces)
        self._grouped = {name for name, role, _ in iterate_roles(spaces) if role == "followers"}
        self._owner = {
            parameter: name
            for name, module in network.named_modules()
            for parameter in module.parameters(recurse=False)
        }
        self._inside: list[str] = []
        self._layers = 0
        self._calls: dict[str, int] = {}

    def hooks(self, name: str, module: nn.Module) -> tuple[Callable[..., None], ...]:
        """The hooks of a module that run before and after its forward pass."""
        counts = _is_plain(module)

        def enter(module: nn.Module, args: Any) -> None:
            self._inside.append(name)
            self._layers += counts

        def leave(module: nn.Module, args: Any, named: Any, output: Any) -> None:
            self._inside.pop()
            self._layers -= counts
            if counts and isinstance(output, Tensor):
                given = args[0] if args else named["input"]
                self._add(_of_module(name, module, given, output))

        return enter, leave

    def _add(self, call: LayerGeometry, functional: bool = False) -> None:
        """Add a call, with its number and the spaces of its outputs and inputs."""
        name = call.name
        times = self._calls[name] = self._calls.get(name, 0) + 1
        self.found.append(
            replace(
                call,
                name=name if times == 1 else f"{name}#{times}",
                outputs=replace(call.outputs, parts=self._widths.get((name, "out"), ())),
                inputs=replace(call.inputs, parts=self._widths.get((name, "in"), ())),
                whole_groups=name in self._grouped,
                counted_elsewhere=functional or times > 1,
            )
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._layers:
            where = self._inside[-1] if self._inside else ""
            self._check(func, args, where)
            name = f"{where}.{func.overloadpacket.__name__}".lstrip(".")
            for call in _of_operation(func, args, result, name, where):
                # The weights of an operation are counted with the parameters outside layers.
                self._add(call, functional=True)
        return result

    def _check(self, func: Any, args: tuple[Any, ...], where: str) -> None:
        """Refuse an operation that multiplies and cannot be counted."""
        name = func.overloadpacket.__name__
        known = func.namespace in ("aten", "prim", "prims")
        weights = [a for a in args if isinstance(a, Tensor) and a in self._owner and a.dim() > 1]
        volume = func is _aten.convolution.default and args[1].dim() > 4
        if (
            volume
            or (known and any(part in name for part in _UNCOUNTED))
            or (not known and weights)
        ):
            raise ValueError(
                f"the operation {name!r} in {where or 'the network'!r} cannot be counted; replace "
                "it with convolutions of one or two dimensions, dense layers and matrix products"
            )


def _widths(network: nn.Module, spaces: Sequence[ChannelSpace]) -> Widths:
    """For each side of a layer, the spaces with their channels and the slots of a channel."""
    modules = dict(network.named_modules())
    found: Widths = {}
    for layer, side, space in iterate_sides(spaces):
        size = RULES[type(modules[layer])].slots(modules[layer], side)
        part = (space.name, space.channels, space.slots(layer, side, size).shape[1])
        found[layer, side] = (*found.get((layer, side), ()), part)
    return found


def _is_plain(module: nn.Module) -> bool:
    """Whether a layer multiplies as torch's own layer does, and not as its subclass decides."""
    return any(
        isinstance(module, kind)
        and type(module).forward is kind.forward
        and getattr(type(module), "_conv_forward", None) is getattr(kind, "_conv_forward", None)
        for kind in (nn.Linear, *get_args(Conv))
    )


def _parts(x: Tensor, weight: Tensor) -> int:
    """Parts of one image that a convolution reads: windows or groups in the batch."""
    return x.shape[0] if x.dim() == weight.dim() else 1


def _of_module(name: str, module: nn.Module, x: Tensor, y: Tensor) -> LayerGeometry:
    """Sizes of a layer's call."""
    if isinstance(module, nn.Linear):
        # The batch holds one image, or the parts of one.
        tokens = (math.prod(x.shape[:-1]), 1)
        return LayerGeometry(
            name,
            name,
            "linear",
            Width(module.out_features),
            Width(module.in_features),
            in_size=tokens,
            out_size=tokens,
            bias=module.bias is not None,
        )
    assert isinstance(module, Conv)
    first = x.dim() - len(module.kernel_size)
    return LayerGeometry(
        name,
        name,
        "transposed" if isinstance(module, Transposed) else "conv",
        Width(module.out_channels),
        Width(module.in_channels),
        kernel=_pair(module.kernel_size, 1),
        stride=_pair(module.stride, 1),
        padding=_padding(module),
        dilation=_pair(module.dilation, 1),
        in_size=_pair(x.shape[first:], 1),
        out_size=_pair(y.shape[first:], 1),
        groups=module.groups,
        bias=module.bias is not None,
        products=_parts(x, module.weight),
    )


def _pair(values: Sequence[int], missing: int) -> Pair:
    """Values for height and width; one-dimensional layers have a width of one."""
    return int(values[0]), int(values[1]) if len(values) > 1 else missing


def _padding(module: Conv) -> tuple[Pair, Pair]:
    if isinstance(module, Transposed):
        return (0, 0), (0, 0)  # its MACs do not depend on the padding
    # Torch stores the padding of the last dimension first, with both sides.
    last_first = module._reversed_padding_repeated_twice
    pairs = [(last_first[i], last_first[i + 1]) for i in range(0, len(last_first), 2)][::-1]
    return pairs[0], pairs[1] if len(pairs) > 1 else (0, 0)


def _of_operation(
    func: Any, args: tuple[Any, ...], result: Any, name: str, where: str
) -> list[LayerGeometry]:
    """Sizes of the products of an operation outside layers."""
    if func is _aten.convolution.default:
        return [_convolution(args, result, name, where)]
    if func in _ATTENTION:
        query, _, value = args[:3]
        products = math.prod(query.shape[:-2])
        rows, inner = query.shape[-2:]
        keys, columns = value.shape[-2:]
        sizes = [(products, rows, inner, keys), (products, rows, keys, columns)]
    else:
        factors = _factors(func, args)
        if factors is None:
            return []
        first, second = factors
        products = first.shape[0] if first.dim() == 3 else 1
        sizes = [(products, first.shape[-2], first.shape[-1], second.shape[-1])]
    return [
        LayerGeometry(
            name,
            where,
            "matmul",
            Width(columns),
            Width(inner),
            in_size=(rows, 1),
            out_size=(rows, 1),
            products=products,
        )
        for products, rows, inner, columns in sizes
    ]


def _factors(func: Any, args: tuple[Any, ...]) -> tuple[Tensor, Tensor] | None:
    """The two factors of a matrix product; None for another operation."""
    if func in (_aten.mm.default, _aten.bmm.default):
        return args[0], args[1]
    if func in (_aten.addmm.default, _aten.baddbmm.default):
        return args[1], args[2]
    return (args[0], args[1][:, None]) if func is _aten.mv.default else None


def _convolution(args: tuple[Any, ...], result: Tensor, name: str, where: str) -> LayerGeometry:
    """Sizes of a convolution that is called as a function."""
    x, weight, _, stride, padding, dilation, transposed, _, groups = args
    rows, columns = _pair(padding, 0)
    return LayerGeometry(
        name,
        where,
        "transposed" if transposed else "conv",
        Width(result.shape[1]),
        Width(x.shape[1]),
        kernel=_pair(weight.shape[2:], 1),
        stride=_pair(stride, 1),
        padding=((0, 0), (0, 0)) if transposed else ((rows, rows), (columns, columns)),
        dilation=_pair(dilation, 1),
        in_size=_pair(x.shape[2:], 1),
        out_size=_pair(result.shape[2:], 1),
        groups=groups,
        products=_parts(x, weight),
    )
