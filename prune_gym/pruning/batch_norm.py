"""Batch norms of all kinds: what they have in common."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

__all__ = ["BatchNorm", "is_frozen", "scale_of", "shift_of"]


def scale_of(norm: BatchNorm) -> Tensor:
    """Scale of each channel, shape (channels,), on the CPU; 1 without a weight."""
    if norm.weight is None:
        return torch.ones(norm.num_features)
    return norm.weight.detach().cpu()


def shift_of(norm: BatchNorm) -> Tensor:
    """Shift of each channel, shape (channels,), on the CPU; 0 without a bias."""
    if norm.bias is None:
        return torch.zeros(norm.num_features)
    return norm.bias.detach().cpu()


def is_frozen(module: nn.Module) -> bool:
    """Whether a module is a batch norm whose weight and bias are not trained, as the user chose."""
    own = list(module.parameters(recurse=False))
    return isinstance(module, BatchNorm) and bool(own) and not any(p.requires_grad for p in own)
