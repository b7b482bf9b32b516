"""Class-wise NMS of a batch of images, with results padded to a fixed shape."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdet._core import backends, check
from fastdet._core.arrays import like, to_array
from fastdet._core.check import Array
from fastdet._core.dispatch import registered
from fastdet.boxes.overlap import METRICS
from fastdet.nms.greedy import nms_reference


class Detections(NamedTuple):
    """Fixed-shape detections of B images; rows from ``count`` on are padding (boxes 0, score 0, label -1)."""

    boxes: Any  # (B, K, 4) float
    scores: Any  # (B, K) float
    labels: Any  # (B, K) int64
    count: Any  # (B,) int64


Detections.__module__ = "fastdet.nms"


def multiclass_nms(
    boxes: Any,
    scores: Any,
    iou_threshold: float,
    *,
    score_threshold: float = 0.0,
    max_output: int = 100,
    max_per_class: int | None = None,
    metric: str = "iou",
    backend: str | None = None,
) -> Detections:
    """Class-wise NMS over a batch of images, with results padded to a fixed shape.

    Parameters
    ----------
    boxes : (B, N, 4) float, pixels, x1 y1 x2 y2: one box for all classes of a candidate
    scores : (B, N, C) float, of each class of each candidate
    iou_threshold : float in [0, 1]; a box with IoU == threshold survives
    score_threshold : a class with score <= it is no detection
    max_output : K, maximum number of detections of an image, the best by score
    max_per_class : maximum number of detections of one class of an image; None for no limit
    metric : "iou" or "ios"

    Returns
    -------
    Detections(boxes (B, K, 4), scores (B, K), labels (B, K) int64, count (B,) int64): each image's by falling
    score, equal scores in order of candidate, then class; padded with boxes 0, score 0, label -1

    Raises
    ------
    TypeError   dtype, or mixed devices
    ValueError  shape, range, NaN

    Examples
    --------
    >>> boxes = np.array([[[0, 0, 10, 10], [1, 0, 11, 10]]])
    >>> scores = np.array([[[0.9, 0.1], [0.8, 0.7]]])
    >>> detections = multiclass_nms(boxes, scores, 0.5, score_threshold=0.2, max_output=3)
    >>> detections.labels, detections.count
    (array([[ 0,  1, -1]]), array([2]))
    """
    if (ops := registered(__name__, boxes, scores, grad=False)) is not None:
        return ops.multiclass_nms(
            boxes, scores, iou_threshold, score_threshold, max_output, max_per_class, metric, backend
        )
    op = "multiclass_nms"
    b, s = to_array(op, "boxes", boxes), to_array(op, "scores", scores)
    if b.ndim != 3 or b.shape[2] != 4:
        raise ValueError(f"{op}: boxes must have shape (B, N, 4), got {b.shape}")
    if s.ndim != 3 or s.shape[:2] != b.shape[:2]:
        raise ValueError(f"{op}: scores must have shape ({b.shape[0]}, {b.shape[1]}, C), got {s.shape}")
    if s.shape[1] * s.shape[2] > check.MAX_COUNT:
        raise ValueError(f"{op}: scores must have at most {check.MAX_COUNT} entries an image, got {s.shape}")
    b, s = check.real(op, "boxes", b), check.real(op, "scores", s)
    threshold = check.unit(op, "iou_threshold", iou_threshold)
    min_score = check.number(op, "score_threshold", score_threshold)
    rows = check.count(op, "max_output", max_output)
    if rows == check.MAX_COUNT:  # results are padded to it
        raise ValueError(f"{op}: max_output must be below {check.MAX_COUNT}, got {check.describe(max_output)}")
    per_class = check.limit(op, "max_per_class", max_per_class)
    check.choice(op, "metric", metric, METRICS)
    kernel = backends.choose(op, backend, multiclass_nms_reference, b, s)
    result = kernel(b, s, threshold, min_score, rows, per_class, metric)
    if isinstance(result, int):
        array, flat = ("scores", s) if result & 1 else ("boxes", b)
        check.raise_nan(op, array, tuple(int(i) for i in np.unravel_index(result >> 1, flat.shape)))
    wrap = like(boxes)
    return Detections(*(wrap(x) for x in result))


def multiclass_nms_reference(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float,
    max_output: int,
    max_per_class: int,
    metric: str,
) -> tuple[Array, Array, Array, Array] | int:
    """NMS of one class of one image at a time. A NaN returns 2 * its flat index in boxes, or that in scores, plus 1."""
    for in_scores, array in enumerate((boxes, scores)):
        is_nan = np.isnan(array).ravel()
        if is_nan.any():
            return int(np.argmax(is_nan)) * 2 + in_scores
    batch, _, classes = scores.shape
    padded = (
        np.zeros((batch, max_output, 4), boxes.dtype),
        np.zeros((batch, max_output), scores.dtype),
        np.full((batch, max_output), -1, np.int64),
        np.zeros(batch, np.int64),
    )
    for image in range(batch):
        row, label = np.nonzero(scores[image] > check.cast(scores.dtype, score_threshold))
        value = scores[image][row, label]
        keep = [np.zeros(0, np.int64)]
        for c in range(classes):
            mine = np.flatnonzero(label == c)
            kept = nms_reference(boxes[image][row[mine]], value[mine], None, iou_threshold, None, max_per_class, metric)
            keep.append(mine[kept])
        chosen = np.sort(np.concatenate(keep))
        chosen = chosen[np.argsort(-value[chosen], kind="stable")][:max_output]
        count = len(chosen)
        padded[0][image, :count] = boxes[image][row[chosen]]
        padded[1][image, :count] = value[chosen]
        padded[2][image, :count] = label[chosen]
        padded[3][image] = count
    return padded
