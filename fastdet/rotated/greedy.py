"""Greedy non-maximum suppression of rotated boxes, of all together or within groups."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, plain, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.nms.greedy import select_greedily
from fastdet.rotated._check import centred, rotated_boxes
from fastdet.rotated.geometry import measure, rects_of
from fastdet.rotated.transforms import FORMATS

METRICS = ("iou", "ios")


def nms_rotated(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    format: str = "cxcywhr",
    degrees: bool = True,
    clockwise: bool = False,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression of rotated boxes.

    Parameters
    ----------
    boxes : (N, 5) or (N, 8) float, pixels and angles
    scores : (N,) float
    iou_threshold : float in [0, 1]; a box with IoU == threshold survives (mmcv and detectron2 remove it)
    format, degrees, clockwise : what the numbers mean: see `box_convert_rotated`
    score_threshold : boxes with score <= it are dropped before NMS; None drops none
    max_output : maximum number of kept boxes, the best by score; None for all
    metric : "iou", or "ios" for intersection over the smaller area

    Returns
    -------
    keep : (K,) int64, by falling score; equal scores: lower index first

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN

    Notes
    -----
    Overlaps are those of `box_iou_rotated`, compared in the boxes' dtype. Empty input gives an empty result. Equal on
    every backend. With C++, a tree of upright boxes finds the boxes that may overlap by enough, whatever their sizes.
    Source: as `fastdet.nms.nms`.

    Examples
    --------
    >>> nms_rotated(np.array([[5, 5, 8, 2, 30], [5, 5, 8, 2, 35], [5, 5, 8, 2, 90]]), np.array([0.9, 0.8, 0.7]), 0.5)
    array([0, 2])
    """
    boxes = plain("nms_rotated", "boxes", boxes, format if format in FORMATS else None)
    options = format, degrees, clockwise, score_threshold, max_output, metric, backend
    if (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.nms_rotated(boxes, scores, iou_threshold, *options)
    return _nms("nms_rotated", boxes, scores, None, iou_threshold, *options)


def batched_nms_rotated(
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    *,
    format: str = "cxcywhr",
    degrees: bool = True,
    clockwise: bool = False,
    score_threshold: float | None = None,
    max_output: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Any:
    """Greedy non-maximum suppression of rotated boxes within each group (class, image, or both in one key).

    Parameters, results and errors as in `nms_rotated`, and

    idxs : (N,) integer, the group of each box, any values; boxes of different groups do not suppress each other

    Examples
    --------
    >>> boxes = np.array([[5, 5, 8, 2, 30], [5, 5, 8, 2, 35], [5, 5, 8, 2, 30]])
    >>> batched_nms_rotated(boxes, np.array([0.9, 0.8, 0.7]), np.array([1, 1, 2]), 0.5)
    array([0, 2])
    """
    boxes = plain("batched_nms_rotated", "boxes", boxes, format if format in FORMATS else None)
    options = format, degrees, clockwise, score_threshold, max_output, metric, backend
    if (ops := registered(__name__, boxes, scores, idxs, grad=False)) is not None:
        return ops.batched_nms_rotated(boxes, scores, idxs, iou_threshold, *options)
    return _nms("batched_nms_rotated", boxes, scores, idxs, iou_threshold, *options)


def _nms(
    op: str,
    boxes: Any,
    scores: Any,
    idxs: Any,
    iou_threshold: float,
    format: str,
    degrees: bool,
    clockwise: bool,
    score_threshold: float | None,
    max_output: int | None,
    metric: str,
    backend: str | None,
) -> Any:
    format = check.choice(op, "format", format, FORMATS)
    b = rotated_boxes(op, "boxes", to_array(op, "boxes", boxes), format)
    s = check.scores(op, to_array(op, "scores", scores), len(b))
    k = None if op == "nms_rotated" else check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    min_score = None if score_threshold is None else check.number(op, "score_threshold", score_threshold)
    limit = check.limit(op, "max_output", max_output)
    check.choice(op, "metric", metric, METRICS)
    degrees, clockwise = bool(degrees), bool(clockwise)
    kernel = backends.choose("nms_rotated", backend, nms_rotated_reference, b, s, k)
    b = centred(b, format, degrees, clockwise, backend)
    keep = kernel(b, s, k, degrees, clockwise, threshold, min_score, limit, metric)
    if isinstance(keep, int):
        check.raise_nan_code(op, keep)
    return like(boxes)(keep)


def nms_rotated_reference(
    boxes: Array,
    scores: Array,
    idxs: Array | None,
    degrees: bool,
    clockwise: bool,
    iou_threshold: float,
    score_threshold: float | None,
    max_output: int,
    metric: str,
) -> NDArray[np.int64] | int:
    """Compare one kept box at a time with all boxes that are left. For a NaN return its code: see `check.find_nan`."""
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    rects, threshold = rects_of(boxes, degrees, clockwise), boxes.dtype.type(iou_threshold)

    def overlaps(best: int, others: Array) -> Array:
        return measure(rects.pick(slice(best, best + 1)), rects.pick(others), metric).astype(boxes.dtype)

    return select_greedily(scores, idxs, overlaps, threshold, score_threshold, max_output)
