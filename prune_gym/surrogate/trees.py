"""Boosted trees as flat arrays, evaluated one row at a time by a compiled kernel."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int32]


@dataclass(frozen=True)
class TreeEnsemble:
    """A sum of regression trees.

    A node whose ``left`` is its own number is a leaf. Rows go left where the feature is at most
    the threshold.

    Args:
        feature: The feature that each node asks for, int32, shape (nodes,).
        threshold: Shape (nodes,).
        left: The next node where the answer is yes, int32, shape (nodes,).
        right: The next node where it is no, int32, shape (nodes,).
        value: What a leaf adds, shape (nodes,).
        roots: The first node of each tree, int32, shape (trees,).
        baseline: What the leaves are added to, shape (1,).

    Raises:
        ValueError: Shapes that differ, or a node that leads backwards or out of the arrays.
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
        # Children stand behind their parents, so that no walk goes on for ever.
        for child in (self.left, self.right):
            if not ((leaf | (child > nodes)) & (child < max(len(nodes), 1))).all():
                raise ValueError("a node of a tree leads backwards or nowhere")
        if self.baseline.shape != (1,) or not len(self.roots):
            raise ValueError("trees need a root and one baseline")
        if self.roots.min() < 0 or self.roots.max() >= len(nodes) or self.feature.min() < 0:
            raise ValueError("a root or a feature is out of range")
        if not all(np.isfinite(part).all() for part in (self.value, self.threshold, self.baseline)):
            raise ValueError("thresholds, values and baseline must be finite")

    @classmethod
    def from_library(cls, regressor: Any) -> "TreeEnsemble":
        """The trees of a fitted ``sklearn.ensemble.GradientBoostingRegressor``.

        Args:
            regressor: Fitted to squared error.

        Returns:
            The ensemble.
        """
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
        """The prediction for one row.

        Args:
            row: Shape (features,), its length the caller's to check; float32 is what is compared.

        Returns:
            The sum of baseline and leaves.
        """
        return float(
            _predict(
                row.astype(np.float32),
                self.feature,
                self.threshold,
                self.left,
                self.right,
                self.value,
                self.roots,
                self.baseline[0],
            )
        )

    def arrays(self) -> dict[str, npt.NDArray]:
        """All arrays by name."""
        return asdict(self)


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
