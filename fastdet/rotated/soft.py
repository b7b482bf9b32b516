"""Soft-NMS of rotated boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdet._core import backends, check
from fastdet._core.arrays import like, plain, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.nms.soft import select_softly
from fastdet.rotated._check import centred, rotated_boxes, same_dtype
from fastdet.rotated.geometry import measure, rects_of
from fastdet.rotated.transforms import FORMATS

METHODS = ("linear", "gaussian")


def soft_nms_rotated(
    boxes: Any,
    scores: Any,
    *,
    format: str = "cxcywhr",
    degrees: bool = True,
    clockwise: bool = False,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
    max_output: int | None = None,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """Soft-NMS of rotated boxes: overlapping boxes lose score instead of being removed.

    Parameters
    ----------
    boxes : (N, 5) or (N, 8) float, pixels and angles
    scores : (N,) float
    format, degrees, clockwise : what the numbers mean: see `box_convert_rotated`
    method, iou_threshold, sigma, min_score, max_output : as in `fastdet.nms.soft_nms`

    Returns
    -------
    keep : (K,) int64, in order of selection; equal scores: lower index first
    new_scores : (K,) float, the score at selection, in the wider dtype of boxes and scores

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN

    Notes
    -----
    Overlaps are those of `box_iou_rotated`. Equal on every backend. Each selected box meets all others: K N pairs, of
    which C++ computes only those whose upright boxes meet.
    Source: as `fastdet.nms.soft_nms`.

    Examples
    --------
    >>> soft_nms_rotated(np.array([[5, 5, 8, 2, 90], [5, 7, 4, 2, 90]]), np.array([0.9, 0.8]))
    (array([0, 1]), array([0.9, 0.4]))
    """
    boxes = plain("soft_nms_rotated", "boxes", boxes, format if format in FORMATS else None)
    options = format, degrees, clockwise, method, iou_threshold, sigma, min_score, max_output, backend
    if (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.soft_nms_rotated(boxes, scores, *options)
    return _soft("soft_nms_rotated", boxes, scores, None, *options)


def batched_soft_nms_rotated(
    boxes: Any,
    scores: Any,
    idxs: Any,
    *,
    format: str = "cxcywhr",
    degrees: bool = True,
    clockwise: bool = False,
    method: str = "linear",
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    min_score: float = 0.001,
    max_output: int | None = None,
    backend: str | None = None,
) -> tuple[Any, Any]:
    """Soft-NMS of rotated boxes within each group.

    Parameters, results, errors and rules as in `soft_nms_rotated`, and

    idxs : (N,) integer, the group of each box, any values; boxes of different groups do not lower each other's scores.
        Boxes are selected over all groups together, by falling score

    Examples
    --------
    >>> boxes = np.array([[5, 5, 8, 2, 90], [5, 7, 4, 2, 90]])
    >>> batched_soft_nms_rotated(boxes, np.array([0.9, 0.8]), np.array([1, 2]))
    (array([0, 1]), array([0.9, 0.8]))
    """
    boxes = plain("batched_soft_nms_rotated", "boxes", boxes, format if format in FORMATS else None)
    options = format, degrees, clockwise, method, iou_threshold, sigma, min_score, max_output, backend
    if (ops := registered(__name__, boxes, scores, idxs, grad=False)) is not None:
        return ops.batched_soft_nms_rotated(boxes, scores, idxs, *options)
    return _soft("batched_soft_nms_rotated", boxes, scores, idxs, *options)


def _soft(
    op: str,
    boxes: Any,
    scores: Any,
    idxs: Any,
    format: str,
    degrees: bool,
    clockwise: bool,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int | None,
    backend: str | None,
) -> tuple[Any, Any]:
    format = check.choice(op, "format", format, FORMATS)
    b = rotated_boxes(op, "boxes", to_array(op, "boxes", boxes), format)
    s = check.scores(op, to_array(op, "scores", scores), len(b))
    b, s = same_dtype(b, s)
    k = None if op == "soft_nms_rotated" else check.keys(op, "idxs", to_array(op, "idxs", idxs), len(b))
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    sigma = check.positive(op, "sigma", sigma)
    if not 0 < check.cast(b.dtype, sigma) < np.inf:
        raise ValueError(f"{op}: sigma must be above 0 and finite in {b.dtype}, got {sigma}")
    min_score = check.non_negative(op, "min_score", min_score)
    limit = check.limit(op, "max_output", max_output)
    check.choice(op, "method", method, METHODS)
    degrees, clockwise = bool(degrees), bool(clockwise)
    kernel = backends.choose("soft_nms_rotated", backend, soft_nms_rotated_reference, b, s, k)
    b = centred(b, format, degrees, clockwise, backend)
    result = kernel(b, s, k, degrees, clockwise, method, threshold, sigma, min_score, limit)
    if isinstance(result, int):
        check.raise_nan_code(op, result)
    keep, new_scores = result
    wrap = like(boxes)
    return wrap(keep), wrap(new_scores)


def soft_nms_rotated_reference(
    boxes: Array,
    scores: Array,
    idxs: Array | None,
    degrees: bool,
    clockwise: bool,
    method: str,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    max_output: int,
) -> tuple[NDArray[np.int64], Array] | int:
    """Select the best box, then weigh the others by their overlap with it. For a NaN return its code."""
    nan = check.find_nan(boxes, scores)
    if nan is not None:
        return nan
    rects = rects_of(boxes, degrees, clockwise)

    def overlaps(best: int, others: Array) -> Array:
        return measure(rects.pick(slice(best, best + 1)), rects.pick(others), "iou").astype(scores.dtype)

    return select_softly(scores, idxs, overlaps, method, iou_threshold, sigma, min_score, max_output)
