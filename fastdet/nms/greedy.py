"""Greedy non-maximum suppression, of all boxes together or within groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, quick_cuda, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.boxes.overlap import METRICS, box_iou_reference


def nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression.

    Parameters
    ----------
    boxes : (N, 4) float, pixels, x1 y1 x2 y2
    scores : (N,) float
    iou_threshold : float in [0, 1]; a box with IoU == threshold survives
    score_threshold : boxes with score <= it are dropped before NMS; None drops none
    max_output : maximum number of kept boxes, the best by score; None for all
    metric : "iou", or "ios" for intersection over the smaller area (tiled inference)

    Returns
    -------
    keep : (K,) int64, by falling score; equal scores: lower index first

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN

    Notes
    -----
    Empty input gives an empty result. Equal on every backend. O(N) memory. With C++ and Numba O(N log N) time in
    practice, for adversarial boxes too; `max_output` limits the work.
    Source: lecture, "Non-maximum suppression".

    Examples
    --------
    >>> nms(np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 0, 60, 10]]), np.array([0.9, 0.8, 0.7]), 0.5)
    array([0, 2])
    """
    plain = type(boxes) is np.ndarray and type(scores) is np.ndarray
    if not plain and (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.nms(boxes, scores, iou_threshold, score_threshold, max_output, metric, backend)
    if (
        not plain
        and (quick := quick_cuda(boxes, backend)) is not None
        and (keep := quick.nms(boxes, scores, None, iou_threshold, score_threshold, max_output, metric)) is not None
    ):
        return keep
    if (
        backend is None
        and type(iou_threshold) is float
        and score_threshold is None
        and max_output is None
        and metric == "iou"
        and backends.native is not None
    ):  # the quick call: for small inputs a call costs as much as the work
        if plain:
            keep = backends.native.nms_quick(boxes, scores, iou_threshold)
            if keep is not None:
                return keep
        else:
            arrays = to_array("nms", "boxes", boxes), to_array("nms", "scores", scores)
            if type(arrays[0]) is np.ndarray and type(arrays[1]) is np.ndarray:
                keep = backends.native.nms_quick(*arrays, iou_threshold)
                if keep is not None:
                    return like(boxes)(keep)
    return _nms("nms", boxes, scores, None, iou_threshold, score_threshold, max_output, metric, backend)


def batched_nms(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    *,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression within each group (class, image, or both in one key).

    Parameters and errors as in `nms`, and

    idxs : (N,) integer, the group of each box, any values; boxes of different groups do not suppress each other. The
        group is a key, not an offset of coordinates, so nothing is lost to rounding
    max_output : maximum number of kept boxes of all groups together, the best by score

    Returns
    -------
    keep : (K,) int64, by falling score over all groups; equal scores: lower index first

    Examples
    --------
    >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10]])
    >>> batched_nms(boxes, np.array([0.9, 0.8, 0.7]), np.array([1, 1, 2]), 0.5)
    array([0, 2])
    """
    if (ops := registered(__name__, boxes, scores, idxs, grad=False)) is not None:
        return ops.batched_nms(boxes, scores, idxs, iou_threshold, score_threshold, max_output, metric, backend)
    if (quick := quick_cuda(boxes, backend)) is not None and (
        keep := quick.nms(boxes, scores, idxs, iou_threshold, score_threshold, max_output, metric)
    ) is not None:
        return keep
    return _nms("batched_nms", boxes, scores, idxs, iou_threshold, score_threshold, max_output, metric, backend)


def _nms(
    op: str,
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int | None,
    metric: str,
    backend: str | None,
) -> Any:
    b = check.boxes(op, "boxes", to_array(op, "boxes", boxes))
    s = check.scores(op, to_array(op, "scores", scores), len(b))
    k = None if op == "nms" else check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    min_score = None if score_threshold is None else check.number(op, "score_threshold", score_threshold)
    limit = check.limit(op, "max_output", max_output)
    if metric != "iou":
        check.choice(op, "metric", metric, METRICS)
    kernel = backends.choose("nms", backend, nms_reference, b, s, k)
    keep = kernel(b, s, k, threshold, min_score, limit, metric)
    if isinstance(keep, int):
        check.raise_nan_code(op, keep)
    return like(boxes)(keep)


def nms_reference(
    boxes: Array,
    scores: Array,
    idxs: Array | None,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> NDArray[np.int64] | int:
    """Compare one kept box at a time with all boxes that are left. For a NaN return its code: see `check.find_nan`."""
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    threshold = boxes.dtype.type(iou_threshold)

    def overlaps(best: int, others: Array) -> Array:
        return box_iou_reference(boxes[best : best + 1], boxes[others], metric, False, None, 0.0, None)[0]

    return select_greedily(scores, idxs, overlaps, threshold, score_threshold, max_output)


def select_greedily(
    scores: Array,
    idxs: Array | None,
    overlaps: Callable[[int, Array], Array],
    threshold: Any,
    score_threshold: float | None,
    max_output: int,
) -> NDArray[np.int64]:
    """The loop of NMS. ``overlaps(best, others)`` gives those of one box with others, in the dtype of ``threshold``."""
    left = np.argsort(-scores, kind="stable")
    if score_threshold is not None:
        left = left[scores[left] > check.cast(scores.dtype, score_threshold)]
    keep: list[int] = []
    while left.size and len(keep) != max_output:
        best, left = int(left[0]), left[1:]
        keep.append(best)
        stays = ~(overlaps(best, left) > threshold)
        if idxs is not None:
            stays |= idxs[left] != idxs[best]
        left = left[stays]
    return np.array(keep, np.int64)
