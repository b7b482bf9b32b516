"""Figures computed from a confusion matrix: accuracies, IoU, Dice."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core.arrays import to_host
from fastdet._core.check import Array
from fastdet._core.metric import known_mean, ratio
from fastdet.segmentation import _check
from fastdet.segmentation.matrix import ConfusionMatrix, known_classes


def pixel_accuracy(matrix: Any, *, num_classes: int | None = None) -> float:
    """The share of the pixels of true classes that are predicted right; NaN without such pixels.

    Parameters
    ----------
    matrix : (R, K) counts of integer or float dtype, rows are the truth. A matrix on a GPU is copied to the
        host, which waits for it
    num_classes : number of first rows and columns that are classes. Further columns are void predictions: misses of
        the row's class. Further rows are void truth: they count against the column's class. Where both cross, nothing
        counts. None: the matrix's own number (a `ConfusionMatrix`, or a tensor as `confusion_matrix` returned it), or
        min(R, K) for a plain NumPy array or a list. A square tensor without that number raises ValueError

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    TypeError   dtype
    ValueError  shape, num_classes (also where it is needed and missing), negative counts or NaN

    Examples
    --------
    >>> from fastdet.segmentation import pixel_accuracy
    >>> pixel_accuracy([[3, 1], [0, 4]])
    0.875
    """
    right, true, _ = _sums("pixel_accuracy", matrix, num_classes)
    return float(ratio(right.sum(), true.sum()))


def class_accuracy(matrix: Any, *, num_classes: int | None = None) -> NDArray[np.float64]:
    """The share of each class's true pixels that are predicted right (recall): (C,), NaN for a class without any.

    Parameters and errors as in `pixel_accuracy`.
    """
    return _class_accuracy("class_accuracy", matrix, num_classes)


def iou(matrix: Any, *, num_classes: int | None = None) -> NDArray[np.float64]:
    """Intersection over union of each class (Jaccard index): (C,), NaN for a class that is neither true nor predicted.

    Parameters and errors as in `pixel_accuracy`.
    """
    return _iou("iou", matrix, num_classes)


def dice(matrix: Any, *, num_classes: int | None = None) -> NDArray[np.float64]:
    """Dice coefficient (F1) of each class: (C,), NaN for a class that is neither true nor predicted.

    Parameters and errors as in `pixel_accuracy`.
    """
    return _dice("dice", matrix, num_classes)


def mean_class_accuracy(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `class_accuracy` over the classes where it is not NaN; NaN if there are none.

    Parameters and errors as in `pixel_accuracy`.
    """
    return known_mean(_class_accuracy("mean_class_accuracy", matrix, num_classes), np.nan)


def mean_iou(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `iou` over the classes where it is not NaN; NaN if there are none.

    Parameters and errors as in `pixel_accuracy`.
    """
    return known_mean(_iou("mean_iou", matrix, num_classes), np.nan)


def mean_dice(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `dice` over the classes where it is not NaN; NaN if there are none.

    Parameters and errors as in `pixel_accuracy`.
    """
    return known_mean(_dice("mean_dice", matrix, num_classes), np.nan)


def frequency_weighted_iou(matrix: Any, *, num_classes: int | None = None) -> float:
    """The mean of `iou` weighted by each class's share of the true pixels; NaN without true pixels.

    Parameters and errors as in `pixel_accuracy`.
    """
    right, true, predicted = _sums("frequency_weighted_iou", matrix, num_classes)
    present = true > 0
    each = ratio(right, true + predicted - right)[present]
    return float(ratio((true[present] * each).sum(), true.sum()))


def _class_accuracy(op: str, matrix: Any, num_classes: int | None) -> NDArray[np.float64]:
    right, true, _ = _sums(op, matrix, num_classes)
    return ratio(right, true)


def _iou(op: str, matrix: Any, num_classes: int | None) -> NDArray[np.float64]:
    right, true, predicted = _sums(op, matrix, num_classes)
    return ratio(right, true + predicted - right)


def _dice(op: str, matrix: Any, num_classes: int | None) -> NDArray[np.float64]:
    right, true, predicted = _sums(op, matrix, num_classes)
    return ratio(2 * right, true + predicted)


def _sums(op: str, matrix: Any, num_classes: int | None) -> tuple[Array, Array, Array]:
    """For each class: pixels predicted right, true pixels, and predicted pixels."""
    known = known_classes(op, matrix, num_classes)
    if isinstance(matrix, ConfusionMatrix):
        matrix = matrix.view(np.ndarray)
    counts, classes = _check.counts(op, to_host(op, "matrix", matrix), known)
    return np.diagonal(counts)[:classes], counts[:classes].sum(axis=1), counts[:, :classes].sum(axis=0)
