"""Networks that no other one beats in accuracy and cost, and the area that they dominate."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def pareto_front(accuracy: npt.ArrayLike, cost: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """The points that no other point beats: none is as good in both and better in one.

    Args:
        accuracy: Accuracies, larger is better, shape (points,).
        cost: Costs, smaller is better, shape (points,).

    Returns:
        Their numbers by rising cost (and so by rising accuracy); of equal points the first.

    Source: Pareto dominance, as in Zitzler and Thiele 1999, section II.
    """
    a, c = _checked(accuracy, cost)
    order = np.lexsort((np.arange(a.size), -a, c))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], a[order]]))
    return order[a[order] > best[:-1]].astype(np.int64)


def hypervolume(
    accuracy: npt.ArrayLike, cost: npt.ArrayLike, reference: tuple[float, float] = (0.0, 1.0)
) -> float:
    """The area between a reference point and the front of some points.

    Args:
        accuracy: Accuracies, larger is better, shape (points,).
        cost: Costs, smaller is better, shape (points,). The default reference is for costs as
            shares of the unpruned network's.
        reference: Accuracy and cost of the reference point; points that are not better in both
            add nothing.

    Returns:
        The area, 0 or more; within the default reference at most 1.

    Source: Zitzler and Thiele, "Multiobjective evolutionary algorithms: a comparative case study
    and the strength Pareto approach", IEEE Trans. Evol. Comp. 3(4), 1999, section II.
    """
    a, c = _checked(accuracy, cost)
    worst_accuracy, worst_cost = reference
    gains = (a > worst_accuracy) & (c < worst_cost)
    a, c = a[gains], c[gains]
    front = pareto_front(a, c)
    # By rising cost each point adds a strip from its own cost to the reference.
    heights = np.diff(a[front], prepend=worst_accuracy)
    return float(np.sum(heights * (worst_cost - c[front])))


def _checked(accuracy: npt.ArrayLike, cost: npt.ArrayLike) -> tuple[Floats, Floats]:
    a, c = np.asarray(accuracy, np.float64), np.asarray(cost, np.float64)
    if a.shape != c.shape or a.ndim != 1:
        raise ValueError(f"Shapes {a.shape} and {c.shape} must be one and the same (points,).")
    if not (np.isfinite(a).all() and np.isfinite(c).all()):
        raise ValueError("Accuracies and costs must be finite; leave the others out.")
    return a, c
