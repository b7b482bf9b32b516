"""Figures that are read off a confusion matrix: accuracies, IoU, Dice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import check
from fastdet._core.arrays import to_host
from fastdet._core.check import Array


def pixel_accuracy(matrix: Any, *, num_classes: int | None = None) -> float:
    """The share of the pixels of true classes that are predicted right; NaN where there is none.

    Parameters
    ----------
    matrix : (R, K) counts, rows are the truth; `confusion_matrix` says which `void` gives which shape. One on a GPU is
        copied to the host, which waits for it
    num_classes : how many of its first rows and columns are classes; None: min(R, K), right for "miss" and "drop".
        Further columns are predictions of no class, misses of the row's class; further rows are pixels of no class,
        which count against the column's class; where they cross nothing counts. For "count" give C

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    TypeError   dtype
    ValueError  shape, num_classes, negative counts or NaN
    """
    right, true, _ = _sums("pixel_accuracy", matrix, num_classes)
    return float(_ratio(right.sum(), true.sum()))


def class_accuracy(matrix: Any, *, num_classes: int | None = None) -> NDArray[np.float64]:
    """The share of each class's true pixels that are predicted right (recall): (C,), NaN for a class without any.

    Parameters and errors as in `pixel_accuracy`.
    """
    right, true, _ = _sums("class_accuracy", matrix, num_classes)
    return _ratio(right, true)


def iou(matrix: Any, *, num_classes: int | None = None) -> NDArray[np.float64]:
    """Intersection over union of each class (Jaccard index): (C,), NaN for a class that is neither true nor predicted.

    Parameters and errors as in `pixel_accuracy`.
    """
    right, true, predicted = _sums("iou", matrix, num_classes)
    return _ratio(right, true + predicted - right)


def dice(matrix: Any, *, num_classes: int | None = None) -> NDArray[np.float64]:
    """Dice coefficient (F1) of each class: (C,), NaN for a class that is neither true nor predicted.

    Parameters and errors as in `pixel_accuracy`.
    """
    right, true, predicted = _sums("dice", matrix, num_classes)
    return _ratio(2 * right, true + predicted)


def mean_class_accuracy(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `class_accuracy` over the classes that have one; NaN where none has."""
    return _mean(class_accuracy(matrix, num_classes=num_classes))


def mean_iou(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `iou` over the classes that have one; NaN where none has."""
    return _mean(iou(matrix, num_classes=num_classes))


def mean_dice(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `dice` over the classes that have one; NaN where none has."""
    return _mean(dice(matrix, num_classes=num_classes))


def frequency_weighted_iou(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `iou` weighted by each class's share of the true pixels; NaN where there is none.

    Parameters and errors as in `pixel_accuracy`.
    """
    right, true, predicted = _sums("frequency_weighted_iou", matrix, num_classes)
    present = true > 0
    each = _ratio(right, true + predicted - right)[present]
    return float(_ratio((true[present] * each).sum(), true.sum()))


def _sums(op: str, matrix: Any, num_classes: int | None) -> tuple[Array, Array, Array]:
    """Of each class: pixels predicted right, true pixels, and pixels predicted as it."""
    counts, classes = check.counts(op, to_host(op, "matrix", matrix), num_classes)
    return np.diagonal(counts)[:classes], counts[:classes].sum(axis=1), counts[:, :classes].sum(axis=0)


def _ratio(part: Any, whole: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.true_divide(part, whole)


def _mean(each: NDArray[np.float64]) -> float:
    some = each[~np.isnan(each)]
    return float(some.mean()) if some.size else float("nan")
