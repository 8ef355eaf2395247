"""Refuse layers whose weights are rebuilt in each forward pass, so that cutting them is undone."""

from torch import nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_HOOKS = (
    (prune.BasePruningMethod, "torch.nn.utils.prune", "torch.nn.utils.prune.remove(layer, NAME)"),
    (
        WeightNorm,
        "torch.nn.utils.weight_norm",
        "torch.nn.utils.remove_weight_norm(layer)",
    ),
    (
        SpectralNorm,
        "torch.nn.utils.spectral_norm",
        "torch.nn.utils.remove_spectral_norm(layer)",
    ),
)


def check_hooks(name: str, module: nn.Module) -> None:
    """Check that a layer's weights are parameters, and are not rebuilt from others.

    Raises:
        ValueError: If a hook or parametrization of ``torch.nn.utils`` rebuilds them.
    """
    if parametrize.is_parametrized(module):
        _refuse(name, "a parametrization", "parametrize.remove_parametrizations(layer, NAME)")
    for hook in module._forward_pre_hooks.values():
        for kind, source, remedy in _HOOKS:
            if isinstance(hook, kind):
                _refuse(name, source, remedy)


def _refuse(name: str, source: str, remedy: str) -> None:
    raise ValueError(
        f"layer {name!r}: {source} rebuilds its weights in each forward pass, so they cannot be "
        f"cut; make them ordinary parameters with {remedy}"
    )
