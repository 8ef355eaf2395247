"""Boosted trees as flat arrays, which a compiled kernel evaluates one row at a time."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TreeEnsemble:
    """A sum of regression trees.

    A node is a leaf if ``left`` is the node's own index. Otherwise a row continues to ``left`` if
    its feature is at most the threshold, and to ``right`` if it is larger.

    Args:
        feature: Index of the feature that a node compares, int32, shape (nodes,).
        threshold: Threshold of a node, shape (nodes,).
        left: Index of the left child, int32, shape (nodes,).
        right: Index of the right child, int32, shape (nodes,).
        value: Value of a leaf, shape (nodes,).
        roots: Index of the root of each tree, int32, shape (trees,).
        baseline: Constant to which the leaves are added, shape (1,).

    Raises:
        ValueError: If shapes differ, a value is not finite, an index is out of range, or a child
            does not follow its parent.
    """

    feature: Indices
    threshold: Array
    left: Indices
    right: Indices
    value: Array
    roots: Indices
    baseline: Array

    def __post_init__(self) -> None:
        nodes = np.arange(len(self.feature))
        for name in ("threshold", "left", "right", "value"):
            if getattr(self, name).shape != nodes.shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {nodes.shape}")
        leaf = self.left == nodes
        # Children follow their parents, so that every walk through a tree ends.
        for child in (self.left, self.right):
            if not ((leaf | (child > nodes)) & (child < max(len(nodes), 1))).all():
                raise ValueError("a child of a node does not follow it or is out of range")
        if self.baseline.shape != (1,) or not len(self.roots):
            raise ValueError("an ensemble needs at least one root and exactly one baseline")
        if self.roots.min() < 0 or self.roots.max() >= len(nodes) or self.feature.min() < 0:
            raise ValueError("a root or a feature is out of range")
        if not all(np.isfinite(part).all() for part in (self.value, self.threshold, self.baseline)):
            raise ValueError("thresholds, values and baseline must be finite")

    @classmethod
    def from_library(cls, regressor: Any) -> "TreeEnsemble":
        """Copy a ``sklearn.ensemble.GradientBoostingRegressor`` of the squared error."""
        trees = [stage[0].tree_ for stage in regressor.estimators_]
        sizes = [tree.node_count for tree in trees]
        offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int32)
        left, right, feature, threshold = (
            np.concatenate([getattr(tree, name) for tree in trees])
            for name in ("children_left", "children_right", "feature", "threshold")
        )
        value = np.concatenate([tree.value.ravel() for tree in trees])
        leaf, own, shift = left < 0, np.arange(len(left)), np.repeat(offsets, sizes)
        return cls(
            feature=np.where(leaf, 0, feature).astype(np.int32),
            threshold=np.where(leaf, 0.0, threshold),
            left=np.where(leaf, own, left + shift).astype(np.int32),
            right=np.where(leaf, own, right + shift).astype(np.int32),
            value=np.where(leaf, regressor.learning_rate * value, 0.0),
            roots=offsets,
            baseline=np.asarray(regressor.init_.constant_, np.float64).reshape(1),
        )

    def predict(self, row: Array) -> float:
        """The sum of the baseline and of one leaf of each tree.

        Args:
            row: Feature vector, shape (features,); its length is not checked. It is compared as
                float32.
        """
        parts = (self.feature, self.threshold, self.left, self.right, self.value, self.roots)
        return float(_predict(row.astype(np.float32), *parts, self.baseline[0]))


@njit(cache=True, nogil=True)
def _predict(
    row: npt.NDArray[np.float32],
    feature: Indices,
    threshold: Array,
    left: Indices,
    right: Indices,
    value: Array,
    roots: Indices,
    baseline: float,
) -> float:
    total = baseline
    for root in roots:
        node = root
        while left[node] != node:
            node = left[node] if row[feature[node]] <= threshold[node] else right[node]
        total += value[node]
    return total
