"""Labels of channels: where each element of an activation comes from.

Every activation has a tensor of labels of its own shape. Elements with one label belong to one
channel; label 0 marks elements that always exist. Dimensions along which labels do not change have
a stride of 0, so that the labels of a large feature map take little memory.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FIXED = 0
"""The label of elements that always exist, such as pixels of the image."""


class Labels:
    """A union-find structure of labels; labels that are tied are removed together or fixed."""

    def __init__(self) -> None:
        self._parent = [FIXED]
        self._reason: dict[int, str] = {FIXED: "the size is given"}

    def fresh(self, count: int) -> Tensor:
        """New labels, shape (count,)."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return torch.arange(first, first + count)

    def root(self, label: int) -> int:
        """The representative of all labels that are tied to a label."""
        parent = self._parent
        while parent[label] != label:
            parent[label] = parent[parent[label]]
            label = parent[label]
        return label

    def reason(self, label: int) -> str | None:
        """Why a label is fixed; None if it can be removed."""
        return self._reason.get(self.root(label))

    def alive(self, labels: Tensor) -> bool:
        """Whether any label of an activation can be removed."""
        return any(self.reason(int(label)) is None for label in core(labels).unique())

    def fix(self, labels: Tensor, reason: str) -> None:
        """Keep channels whole; ``reason`` is reported."""
        for label in core(labels).unique().tolist():
            self._reason.setdefault(self.root(label), reason)

    def tie(self, first: Tensor, second: Tensor, reason: str) -> None:
        """Tie the labels of two activations of the same shape, element by element.

        ``reason`` is reported if one of two labels is fixed.
        """
        pairs = torch.stack(torch.broadcast_tensors(core(first), core(second))).flatten(1)
        for a, b in pairs.unique(dim=1).T.tolist():
            self._tie(a, b, reason)

    def tie_slots(self, labels: Tensor, dim: int, reason: str) -> Tensor:
        """Tie all labels of an activation that have the same index in ``dim``.

        Returns:
            A label for each index, shape (size of ``dim``,).
        """
        small = core(labels).movedim(dim, 0).flatten(1)
        if small.shape[1] > 1:
            for row in small.unique(dim=1).tolist():
                for other in row[1:]:
                    self._tie(row[0], other, reason)
        return small[:, 0].expand(labels.shape[dim])

    def _tie(self, first: int, second: int, reason: str) -> None:
        a, b = sorted((self.root(first), self.root(second)))
        if a in self._reason or b in self._reason:
            # A fixed label is not merged, so that each label keeps its own reason.
            self._reason.setdefault(a, reason)
            self._reason.setdefault(b, reason)
        elif a != b:
            self._parent[b] = a


def core(labels: Tensor) -> Tensor:
    """The labels with one element in each dimension along which they do not change."""
    for dim, (size, stride) in enumerate(zip(labels.shape, labels.stride(), strict=True)):
        if stride == 0 and size > 1:
            labels = labels.narrow(dim, 0, 1)
    return labels


def compact(labels: Tensor) -> Tensor:
    """The same labels, with a stride of 0 in each dimension along which they do not change."""
    shape, small = labels.shape, core(labels)
    for dim, size in enumerate(small.shape):
        if size > 1:
            first = small.narrow(dim, 0, 1)
            if bool((small == first).all()):
                small = first
    return small.clone().expand(shape)


def along(labels: Tensor, shape: Sequence[int], dim: int) -> Tensor:
    """Labels of an activation of this shape that has ``labels[i]`` at index ``i`` of ``dim``."""
    ones = [1] * len(shape)
    ones[dim] = -1
    return labels.reshape(ones).expand(tuple(shape))


def varying(labels: Tensor) -> list[int]:
    """Dimensions along which labels change."""
    return [dim for dim, size in enumerate(core(labels).shape) if size > 1]
