"""What torch's operations do to the channels of an activation."""

import math
import operator
from typing import Literal

import torch
from torch import fx, nn
from torch.nn import functional

Kind = Literal["elementwise", "pool", "reduce", "move", "select", "pad", "join", "other"]
"""Kinds of operations.

``elementwise`` combines elements at the same place; ``pool`` combines elements of the last
dimensions; ``reduce`` combines all elements of the given dimensions; ``move`` copies elements to
other places; ``select`` is a move that selects elements by number; ``pad`` adds elements; ``join``
concatenates. Nothing is known of ``other`` operations: the channels that they read stay whole.
"""

_ELEMENTWISE = """
abs add addcdiv addcmul alpha_dropout and atan2 bernoulli bitwise_and bitwise_not bitwise_or ceil
celu clamp clamp_max clamp_min clip cos div dropout dropout1d dropout2d dropout3d elu eq erf exp
expm1 fabs feature_alpha_dropout float floor floordiv fmod full_like ge gelu gt hardshrink
hardsigmoid hardswish hardtanh iadd identity imul invert isub itruediv le leaky_relu lerp log
log1p logical_and logical_not logical_or logical_xor logsigmoid lt masked_fill maximum minimum
mish mul multiply nan_to_num ne neg negative ones_like or pos positive pow reciprocal relu relu6
remainder round rrelu rsqrt rsub selu sigmoid sign silu sin softplus softshrink softsign sqrt
square sub subtract tanh tanhshrink threshold to true_divide truediv type_as where xor zeros_like
"""
_POOL = """
adaptive_avg_pool1d adaptive_avg_pool2d adaptive_max_pool1d adaptive_max_pool2d avg_pool1d
avg_pool2d interpolate lp_pool1d lp_pool2d max_pool1d max_pool2d upsample upsample_bilinear
upsample_nearest
"""
_REDUCE = "amax amin mean std sum var"
_MOVE = """
channel_shuffle clone contiguous detach expand expand_as flatten flip moveaxis movedim permute
pixel_shuffle pixel_unshuffle repeat repeat_interleave reshape reshape_as squeeze swapaxes
swapdims tile transpose unflatten unsqueeze view view_as
"""
_SELECT = "chunk getitem index_select narrow roll select split tensor_split unbind"
_JOIN = "cat concat concatenate"
_KINDS: dict[str, Kind] = {
    **dict.fromkeys(_ELEMENTWISE.split(), "elementwise"),
    **dict.fromkeys(_POOL.split(), "pool"),
    **dict.fromkeys(_REDUCE.split(), "reduce"),
    **dict.fromkeys(_MOVE.split(), "move"),
    **dict.fromkeys(_SELECT.split(), "select"),
    **dict.fromkeys(_JOIN.split(), "join"),
    "pad": "pad",
}
NAMES = frozenset(_KINDS)
"""Operations of which something is known; those with an underscore at the end work in place."""
_MODULES: dict[type[nn.Module], tuple[str, Kind]] = {
    **{
        kind: (kind.__name__, "elementwise")
        for kind in (
            *(nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
            *(nn.FeatureAlphaDropout, nn.Identity, nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink),
            *(nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid, nn.Mish),
            *(nn.RReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus),
            *(nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold),
        )
    },
    **{
        kind: (kind.__name__, "pool")
        for kind in (
            *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d),
            *(nn.AdaptiveMaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.LPPool1d, nn.LPPool2d),
            *(nn.MaxPool1d, nn.MaxPool2d, nn.Upsample, nn.UpsamplingBilinear2d),
            *(nn.UpsamplingNearest2d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ZeroPad2d),
            *(nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReplicationPad1d, nn.ReplicationPad2d),
            *(nn.ZeroPad1d, nn.CircularPad1d, nn.CircularPad2d),
        )
    },
    nn.Flatten: ("flatten", "move"),
    nn.Unflatten: ("unflatten", "move"),
    nn.PixelShuffle: ("pixel_shuffle", "move"),
    nn.PixelUnshuffle: ("pixel_unshuffle", "move"),
    nn.ChannelShuffle: ("channel_shuffle", "move"),
}
_HOMES = (torch, functional, operator, math, torch._C._nn, torch.Tensor)


def operation(node: fx.Node, module: nn.Module | None) -> tuple[str, Kind]:
    """Name and kind of a call.

    Args:
        node: The call.
        module: The called module, if any.
    """
    if module is not None:
        if type(module).__name__ == "StochasticDepth":
            return "StochasticDepth", "elementwise"  # of torchvision, which may not be installed
        if isinstance(module, nn.PReLU):
            return "PReLU", "elementwise"  # one slope for all channels; others are followers
        return _MODULES.get(type(module), (type(module).__name__, "other"))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    name = str(name)
    plain = name.rstrip("_") if not name.endswith("__") else name
    if node.op == "call_function" and not _is_torchs(node.target, name):
        return name or str(node.target), "other"
    if node.kwargs.get("return_indices"):
        return name, "other"
    if plain in ("max", "min") and len(node.args) > 1 and isinstance(node.args[1], fx.Node):
        return plain, "elementwise"  # of two tensors
    return plain, _KINDS.get(plain, "other")


def _is_torchs(target: object, name: str) -> bool:
    """Whether a function is torch's or Python's, and not a user's of the same name."""
    if any(getattr(home, name, None) is target for home in _HOMES):
        return True
    module = getattr(target, "__module__", None) or ""
    # Some functionals are boolean dispatchers, such as max_pool2d.
    return module.startswith(("torch.nn.functional", "torch._jit_internal", "_operator"))
